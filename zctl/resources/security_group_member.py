"""A network card's place in a security group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import String, UniqueConstraint

from zctl.errors import Refused
from zctl.resources.base import Resource, attr, ref
from zctl.resources.nic import Nic
from zctl.resources.security_group import SecurityGroup

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from zctl.plan.snapshot import Snapshot


class SecurityGroupMember(Resource, table=True):
    """A network card's place in a security group."""

    __table_args__ = (UniqueConstraint("nic_id", "security_group_id", name="once_in_each_group"),)
    auto_name = True
    read_only = True
    manifest = False

    name: str = attr(
        "", help="card and group", listed="list", when="never", sa_type=String(161), unique=True, index=True
    )
    nic_id: str = ref("nic", help="the card", when="never", listed="list", on_delete="owned")
    security_group_id: str = ref("security-group", help="the group", when="never", listed="list", on_delete="cascade")
    place: int = attr(0, help="the order in which the card's groups are asked, from 0", when="never", listed="list")

    @property
    def label(self) -> str:
        """How messages call it: by the card."""
        return f"nic {self.name.partition('/')[0]} (as a member)"

    def check(self, db: Session) -> None:
        """Adopted cards are not filtered, so that a group would promise what nobody keeps."""
        nic = db.get(Nic, self.nic_id)
        if nic is not None and nic.bridge is not None:
            raise Refused(
                "it is an adopted card, which zctl does not filter",
                resource=nic.label,
                remedy="filter it where it is plugged in, or give the VM a card of zctl's",
            )

    def keeper(self, snapshot: Snapshot) -> str | None:
        """Its card's."""
        nic = snapshot.get(Nic, self.nic_id)
        return nic.keeper(snapshot) if nic else None

    def scope(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """What the card and the group concern."""
        nic, group = snapshot.get(Nic, self.nic_id), snapshot.get(SecurityGroup, self.security_group_id)
        found = dict(nic.scope(snapshot)) if nic else {}
        for host, uuids in group.scope(snapshot).items() if group else ():
            found[host] = sorted({*found.get(host, []), *uuids})
        return found
