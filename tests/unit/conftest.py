"""A command line with an inventory of its own, and hosts that are played by a function."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from tests.unit.servers import MariaDb, mariadb
from zctl.cli.main import app
from zctl.inventory.engine import Inventory
from zctl.inventory.schema import initialise
from zctl.inventory.store import create
from zctl.resources.host import Host
from zctl.resources.internal import StorageHost
from zctl.resources.primary_storage import PrimaryStorage
from zctl.resources.registry import resource_class
from zctl.run.values import HostResult, HostRun, Result

GIB = 2**30


@dataclass
class FakeHosts:
    """Answers runs as the modules would: everything wanted is done, unless told otherwise."""

    broken: dict[str, str] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    runs: list[HostRun] = field(default_factory=list)
    during: Callable[[], None] | None = None

    def __call__(self, runs: list[HostRun], _settings: Any, _watch: Any) -> dict[str, HostResult]:
        self.runs += runs
        if self.during:
            self.during()
        return {run.connection.uuid: self.answer(run) for run in runs}

    def answer(self, run: HostRun) -> HostResult:
        """One host's results."""
        found = HostResult(run.connection.name)
        if run.connection.name in self.away:
            found.unreachable = "it does not answer"
            return found
        state = run.state
        if "kvm_host" in run.steps:
            seen = {"cpus": 4, "memory_bytes": 8 * GIB, "virt_type": "qemu"}
            found.results.append(Result(run.connection.uuid, "host", found.host, "changed", "", seen, "kvm_host"))
        for entry in state["storage"]["storages"]:
            seen = {"total_bytes": 100 * GIB, "free_bytes": 90 * GIB, "token": "t"}
            found.results.append(Result(entry["uuid"], "storage", entry["name"], "unchanged", "", seen, "storage"))
        for entry in (*state["storage"]["purge"], *state["vm"]["purge"]):
            concern = "storage" if "path" in entry else "vm"
            found.results.append(Result(entry["uuid"], "volume", entry["name"], "removed", "gone", {}, concern))
        for kind, entries in (("volume", state["storage"]["volumes"]), ("vm", state["vm"]["vms"])):
            for entry in entries:
                reason = self.broken.get(entry["name"], "")
                seen = {"state": entry["state"], "pending": []} if kind == "vm" else {"present": not reason}
                outcome = "failed" if reason else "changed"
                found.results.append(
                    Result(entry["uuid"], kind, entry["name"], outcome, reason, {} if reason else seen, kind)
                )  # type: ignore[arg-type]
        for router in state["eip"]["routers"]:
            for entry in router["eips"]:
                seen = {"answers": True}
                found.results.append(Result(entry["uuid"], "eip", entry["name"], "changed", "", seen, "eip"))
        found.done = set(run.steps)
        return found


@dataclass
class Zctl:
    """The command line on an inventory in a folder."""

    home: Path
    hosts: FakeHosts
    db: str = ""

    @property
    def url(self) -> str:
        """The inventory's address."""
        return self.db or f"sqlite:///{self.home / 'zctl.db'}"

    @property
    def inventory(self) -> Inventory:
        """The inventory itself."""
        return Inventory(self.url)

    def call(self, *words: str, stdin: str = "") -> Any:
        """One call."""
        environment = {"ZCTL_HOME": str(self.home), "ZCTL_DB": self.db}
        return CliRunner().invoke(app, list(words), input=stdin, env=environment)

    def ok(self, *words: str, stdin: str = "") -> str:
        """One call that must succeed; returns what it printed on stdout."""
        answer = self.call(*words, stdin=stdin)
        assert answer.exit_code == 0, (words, answer.output, answer.exception)
        return str(answer.stdout)

    def fails(self, *words: str, code: int = 1, stdin: str = "") -> str:
        """One call that must fail in plain words and change nothing; returns the words."""
        before = self.dump()
        answer = self.call(*words, stdin=stdin)
        assert answer.exit_code == code, (words, answer.exit_code, answer.output, answer.exception)
        assert "Traceback" not in answer.output and answer.output.strip()
        assert self.dump() == before, "a refused command changed the inventory"
        return str(answer.stderr)

    def rows(self, noun: str, *filters: str) -> list[dict[str, Any]]:
        """A list as values."""
        words = [word for text in filters for word in ("--filter", text)]
        found: list[dict[str, Any]] = json.loads(self.ok(noun, "list", "-o", "json", *words))
        return found

    def dump(self) -> dict[str, list[Any]]:
        """All rows of all resource types but events, jobs and signs of life."""
        from zctl.resources.registry import all_classes

        if not self.db and not (self.home / "zctl.db").exists():
            return {}
        with self.inventory.read() as db:
            return {
                cls.noun: sorted(str(row) for row in db.scalars(select(cls)))
                for cls in all_classes()
                if cls.noun not in ("event", "job", "management-node")
            }


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """A MariaDB server for all tests of a process."""
    with mariadb(tmp_path_factory.mktemp("m")) as made:
        yield made


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite inventory without rows: running all migrations for each test would take longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "zctl.db"
    initialise(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "mariadb"])
def engine(request: pytest.FixtureRequest) -> str:
    """The address of an inventory's database for one test, on either kind; empty: the file in the data folder."""
    return "" if request.param == "sqlite" else request.getfixturevalue("server").without_rows()


@pytest.fixture
def zctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, empty_file: Path) -> Zctl:
    """An empty inventory; each test that takes it runs on SQLite and on MariaDB."""
    hosts = FakeHosts()
    for module in ("converge", "drift", "release", "hosts"):
        monkeypatch.setattr(f"zctl.actions.{module}.execute", hosts)
    made = Zctl(tmp_path / "home", hosts, engine)
    if not engine:
        made.home.mkdir(mode=0o700)
        shutil.copy2(empty_file, made.home / "zctl.db")
    made.ok("init")
    return made


@pytest.fixture
def cloud(zctl: Zctl, tmp_path: Path) -> Zctl:
    """Two connected hosts with 4 CPUs and 8 GiB each, a storage, two networks, an image, an offering."""
    fill(zctl, tmp_path)
    return zctl


def fill(zctl: Zctl, tmp_path: Path) -> None:
    """Make the cloud's rows, as they are once real hosts have been looked at."""
    image = tmp_path / "image.raw"
    image.write_bytes(bytes(2**20))
    with zctl.inventory.write() as db:

        def make(noun: str, **values: Any) -> Any:
            return create(db, resource_class(noun), values)[0]

        make("zone", name="z1")
        make("cluster", name="c1", zone="z1", cpu_overcommit=1)
        storage: PrimaryStorage = make("primary-storage", name="disks", zone="z1", path="/srv/zctl", overcommit=1)
        for number in (1, 2):
            host: Host = make(
                "host", name=f"h{number}", cluster="c1", address=f"198.18.0.{number}", host_key="ssh-ed25519 AAAA"
            )
            host.state, host.cpus, host.memory = "Connected", 4, 8 * GIB
            db.add(StorageHost(storage_id=storage.id, host_id=host.id, total=100 * GIB, free=90 * GIB, token="t"))
        make("l2-network", name="wire", zone="z1", physical_interface="eth1")
        make(
            "l3-network", name="lan", l2_network="wire", cidr="10.0.0.0/24", gateway="10.0.0.1", ranges=["10.0.0.0/28"]
        )
        make("image", name="tiny", source=str(image))
        make("instance-offering", name="small", cpus=1, memory="1G")
        make("disk-offering", name="data", size="1G")
