"""The figure of dumps: a hundred thousand VMs out of MariaDB. Called by tests.bench."""

from __future__ import annotations

import statistics
import subprocess
import sys
import uuid
from pathlib import Path

from tests.bench_figure import ROUNDS, Figure, median, run
from tests.unit.servers import MariaDb, mariadb
from zctl.inventory.engine import Inventory
from zctl.inventory.schema import initialise
from zctl.resources.base import now

VMS = 100_000


def dumps(folder: Path) -> Figure:
    """zctl dump_mysql of 100,000 VMs, against mariadb-dump | zstd of the same rows.

    Each has a disk, a card, a tag, and the job and the events of being made, started and stopped.
    """
    zctl = str(Path(sys.executable).parent / "zctl")
    place = folder / "dump"
    place.mkdir()
    with mariadb(place) as server:
        url = server.empty()
        fill(server, url)
        bare = (
            f"mariadb-dump --no-defaults --socket={server.socket} --user=root --single-transaction --quick --routines "
            f"--triggers --events zctl | zstd -q -3 -f -o {place}/bare.zst"
        )
        home = {"ZCTL_HOME": str(place / "home"), "ZCTL_DB": url}
        floors, took = [], []
        for _ in range(ROUNDS):
            floors.append(median(lambda: run(["bash", "-o", "pipefail", "-c", bare]), 1))
            took.append(median(lambda: run([zctl, "dump_mysql", "--keep-amount", "2"], **home), 1))
        check(server, place)
    return Figure(
        "zctl dump_mysql, 100,000 VMs / mariadb-dump | zstd", statistics.median(took), statistics.median(floors), 1.5
    )


def check(server: MariaDb, place: Path) -> None:
    """The dumps hold what they should."""
    (vms,) = server.sql("SELECT count(*) FROM zctl.vm")
    found = subprocess.run(
        ["bash", "-c", f"zstd -dc $(ls {place}/home/mysql-backup/*.zst | tail -1) | grep -c web-99999"],
        capture_output=True,
        text=True,
    )
    assert vms == (VMS,) and int(found.stdout) >= 3


def fill(server: MariaDb, url: str) -> None:
    """Rows as a cloud of that size has them: the server makes the others after the first ones."""
    from sqlalchemy import insert

    from zctl.resources.event import Event
    from zctl.resources.job import Job
    from zctl.resources.nic import Nic
    from zctl.resources.registry import all_classes
    from zctl.resources.tag import Tag
    from zctl.resources.vm import Vm
    from zctl.resources.volume import Volume

    all_classes()
    initialise(url)
    inventory = Inventory(url)
    first: dict[type, dict[str, object]] = {
        Vm: {"name": "web-0", "cpus": 2, "memory": 2**31, "state": "Running"},
        Volume: {"name": "web-0-root", "vm_id": "0", "size": 10 * 2**30, "storage_id": "0"},
        Nic: {"name": "web-0-nic0", "vm_id": "0", "ip": "10.0.0.0", "mac": "52:54:00:00:00:00"},
        Tag: {
            "name": "vm/web-0/owner",
            "key": "owner",
            "value": "team",
            "kind": "vm",
            "resource_id": str(uuid.uuid4()),
        },
        Job: {"name": "job-web-0", "verb": "vm create", "state": "Done", "owner": "root@node:1:2:3"},
    }
    happened = {"kind": "vm", "resource_id": str(uuid.uuid4()), "resource": "web-0", "actor": "root@node"}
    events = [{"name": f"event-{what}-web-0", "what": what} | happened for what in ("created", "started", "stopped")]
    with inventory.engine.begin() as connection:
        connection.exec_driver_sql("SET SESSION foreign_key_checks = 0")
        for cls, row in first.items():
            connection.execute(insert(cls), [filled(cls, row)])
        connection.execute(insert(Event), [filled(Event, row) for row in events])
    inventory.engine.dispose()
    changed = {
        "id": "UUID()",
        "name": "REPLACE(t.name, 'web-0', CONCAT('web-', seq))",
        "resource_id": "UUID()",
        "ip": "INET_NTOA(167772160 + seq)",
        "mac": "CONCAT('52:54:00:', REGEXP_REPLACE(LPAD(HEX(seq), 6, '0'), '(..)(..)(..)', '\\\\1:\\\\2:\\\\3'))",
    }
    for cls in (*first, Event):
        table = cls.__table__  # type: ignore[attr-defined]
        names = ", ".join(f"`{column.name}`" for column in table.columns)
        values = ", ".join(changed.get(column.name, f"t.`{column.name}`") for column in table.columns)
        server.sql(
            "USE zctl",
            "SET SESSION foreign_key_checks = 0, unique_checks = 0",
            f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {table.name} t, seq_1_to_{VMS - 1}",
        )


def filled(cls: type, given: dict[str, object]) -> dict[str, object]:
    """A row with its type's defaults."""
    values = {"id": str(uuid.uuid4()), "created_at": now(), "updated_at": now()}
    for name, info in cls.model_fields.items():  # type: ignore[attr-defined]
        if name not in values and not info.is_required():
            values[name] = info.get_default(call_default_factory=True)
    return values | given
