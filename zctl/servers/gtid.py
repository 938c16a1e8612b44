"""MariaDB's global transaction ids (domain-server-number): what a server has that another has not. Pure."""

from __future__ import annotations

State = dict[tuple[int, int], int]


def parse(text: str) -> State:
    """The greatest number of each (domain, server) in a position or a binlog's state, as the server writes them."""
    found: State = {}
    for entry in text.split(","):
        if entry.strip():
            domain, server, number = (int(word) for word in entry.strip().split("-"))
            found[domain, server] = max(number, found.get((domain, server), 0))
    return found


def reach(text: str) -> dict[int, int]:
    """How far a position goes in each domain, whichever server wrote last."""
    found: dict[int, int] = {}
    for (domain, _server), number in parse(text).items():
        found[domain] = max(number, found.get(domain, 0))
    return found


def covers(one: str, other: str) -> bool:
    """Whether the position `one` is as far as `other` in every domain."""
    have = reach(one)
    return all(have.get(domain, 0) >= number for domain, number in reach(other).items())


def errant(replica: str, primary: str, writer: int | None = None) -> list[str]:
    """Ids, or ranges of them, in a replica's binlog state that the primary's does not know.

    `writer` is the primary's own server id where it was asked first: it may have written meanwhile.
    """
    known = parse(primary)
    found = []
    for (domain, server), number in sorted(parse(replica).items()):
        first = known.get((domain, server), 0) + 1
        if number >= first and server != writer:
            last = f"{domain}-{server}-{number}"
            found.append(last if number == first else f"{domain}-{server}-{first}..{number}")
    return found
