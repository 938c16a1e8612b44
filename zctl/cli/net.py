"""Look into networks: by real packets, or by following one step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zctl.cli.call import Call, add_command, group_app
from zctl.cli.complete import names_of
from zctl.errors import HostError, Misuse

if TYPE_CHECKING:
    from zctl.plan.netcheck import Verdict


def check(
    call: Call,
    l2_network: Annotated[
        list[str] | None,
        typer.Option("--l2-network", help="Only this network; may be repeated.", autocompletion=names_of("l2-network")),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="Only between these hosts; may be repeated.", autocompletion=names_of("host")),
    ] = None,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for hosts that are not heard.")] = 6,
) -> None:
    """Send probes between all hosts of each network and tell which arrive; exit code 1 when something is wrong.

    Small packets and the largest ones are tried on every way, and ARP asks whether somebody else has an address of the
    network. VMs are not needed and not disturbed.
    """
    from zctl.actions.netcheck import check as run
    from zctl.cli.output import dump

    if not 1 <= wait <= 300:
        raise Misuse(f"--wait {wait:g} is not between 1 and 300 seconds", remedy="leave it out, or give --wait 20")
    found = run(call.context(resume=False), l2_network or [], host or [], wait)
    if call.output in ("json", "yaml"):
        dump(call.output, {"networks": [verdict.as_dict() for verdict in found]})
    elif call.output == "name":
        for verdict in found:
            print(verdict.wire.name)
    else:
        call.progress.stop()
        for verdict in found:
            for line in lines(verdict):
                print(line)
    bad = [verdict.wire.name for verdict in found if verdict.faults]
    if bad:
        raise HostError(
            "not everything arrives as it should",
            resource=f"l2-network {', '.join(bad)}",
            remedy="mend what is named above, then zctl net check",
        )


def lines(verdict: Verdict) -> list[str]:
    """A network's verdict for people, in 80 columns."""
    import textwrap

    from zctl.plan.netcheck import matrix

    wire = verdict.wire
    mtus = " ".join(str(mtu) for mtu in sorted(set(verdict.mtu.values())))
    about = ", ".join(filter(None, [wire.kind, f"VLAN {wire.vlan}" if wire.vlan else "", wire.nic, f"MTU {mtus}"]))
    total, good = len(verdict.arrives), sum(word == "ok" for word in verdict.arrives.values())
    state = f"{good} of {total} ways are open" if total else "it has one host: there is nobody to hear it"
    found = [f"l2-network {wire.name} ({about}): {state}"]
    if total:
        found += [f"  {line}" for line in matrix(verdict, 78)]
    for fault in verdict.faults:
        found += textwrap.wrap(fault.text, 80, initial_indent="  ! ", subsequent_indent="    ")
        found += textwrap.wrap(f"what to do: {fault.remedy}", 80, initial_indent="    ", subsequent_indent="    ")
    return found


def trace(
    call: Call,
    source: Annotated[
        str,
        typer.Option(
            "--from", help="A VM, a nic, or an address outside.", autocompletion=names_of("vm"), metavar="FROM"
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--to",
            help="A VM, a nic or an address, :PORT behind it.",
            autocompletion=names_of("vm"),
            metavar="TO[:PORT]",
        ),
    ],
    protocol: Annotated[
        str, typer.Option("--protocol", help="tcp, udp or icmp; tcp with a port and icmp without when not given.")
    ] = "",
    offline: Annotated[bool, typer.Option("--offline", help="By the inventory alone: contact no host.")] = False,
) -> None:
    """Say step by step what lets a packet through, or drops it; exit code 1 when it is dropped.

    It is the first packet of a connection; answers always pass. Hosts on the way are asked whether ports, namespaces
    and filters are there; nothing is sent and nothing changed.
    """
    from zctl.actions.trace import trace as follow
    from zctl.cli.output import dump
    from zctl.plan.trace import NUMBERS, lines

    if protocol and protocol not in NUMBERS:
        raise Misuse(f"--protocol {protocol} is not known", remedy="tcp, udp or icmp")
    found = follow(call.context(resume=False), source, target, protocol or None, offline)
    call.progress.stop()
    if call.output in ("json", "yaml"):
        dump(call.output, found.as_dict())
    elif call.output == "name":
        print("dropped" if found.stop else "passes")
    else:
        for line in lines(found):
            print(line)
    if found.stop:
        raise typer.Exit(1)


def apps() -> dict[str, typer.Typer]:
    """The application with its verbs."""
    app = group_app(__doc__)
    add_command(app, "check", check)
    add_command(app, "trace", trace)
    return {"net": app}
