"""A public SSH key that VMs are given; the private one is never stored."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, Text, select
from sqlmodel import col

from zctl.errors import Invalid, Refused
from zctl.resources.base import Resource, attr
from zctl.resources.lookup import find
from zctl.ssh_keys import fingerprint, normal_key

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot
    from zctl.resources.vm import Vm

MAX_KEYS = 50


class Keypair(Resource, table=True):
    """A public SSH key that VMs are given; the private one is never stored."""

    public_key: str = attr(
        # Looked at by normal_key alone, which never repeats it: it may be a private key by mistake.
        help="the public key as in id_ed25519.pub",
        when="create",
        sa_type=Text,
    )
    fingerprint: str | None = attr(
        None, help="its SHA-256, as ssh-keygen -l prints it", when="never", listed="list", sa_type=String(64)
    )

    @classmethod
    def canonical(cls, field: str, value: Any) -> Any:
        """Keys are stored on one line, with their comment."""
        return normal_key(value, "keypair") if field == "public_key" and value else value

    def prepare(self, db: Session, inputs: dict[str, Any]) -> list[Resource]:
        """Take the key apart: what is none ends here."""
        self.public_key = normal_key(self.public_key, self.label)
        self.fingerprint = fingerprint(self.public_key)
        return []

    def revise(self, db: Session, inputs: dict[str, Any], changed: set[str], given: Set[str]) -> list[Resource]:
        """VMs call it by its name: a new one goes to them."""
        if "name" not in changed:
            return []
        old = db.scalars(select(col(Keypair.name)).where(col(Keypair.id) == self.id)).one()
        users: list[Resource] = []
        for vm in users_of(db, old):
            vm.keypairs = [self.name if word == old else word for word in vm.keypairs]
            users.append(vm)
        return users

    def check_delete(self, db: Session) -> None:
        """A key that VMs have stays."""
        users = [vm for vm in users_of(db, self.name) if vm.id not in db.info.get("going", ())]
        if users:
            names = ", ".join(vm.label for vm in users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
            raise Refused(
                f"it is in use by {names}",
                resource=self.label,
                remedy=f"zctl vm update {users[0].name} --ssh-key OTHER gives the VM another one",
            )

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """The VMs that have it are told its name."""
        from zctl.resources.vm import Vm

        found: dict[str, list[str]] = {}
        for vm in snapshot.all(Vm):
            if self.name in vm.keypairs:
                for host, uuids in vm.scope(snapshot).items():
                    found.setdefault(host, []).extend(uuids)
        return found


def users_of(db: Session, name: str) -> list[Vm]:
    """The VMs that have the key."""
    from zctl.resources.vm import Vm

    return [vm for vm in db.scalars(select(Vm).order_by(col(Vm.name))) if name in vm.keypairs]


def known_names(db: Session, label: str, names: list[str]) -> list[str]:
    """The names of the keys, each of which must be there, once."""
    if not names:
        return names
    found = [find(db, Keypair, name).name for name in names]
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice or len(found) > MAX_KEYS:
        what = (
            f"keypair {twice} is given twice" if twice else f"{len(found)} keypairs are given, {MAX_KEYS} is the most"
        )
        raise Invalid(what, resource=label, remedy="name each key once", field="keypairs")
    return found
