"""Security groups with their rules and members; what cards may send from."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def common(table: str) -> list[sa.Column[Any]]:
    """The columns that every resource has."""
    length = 161 if table == "security_group_member" else 80
    return [
        sa.Column("id", sa.String(length=36), primary_key=True, nullable=False),
        sa.Column("name", sa.String(length=length), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_set", sa.String(length=80), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
    ]


def reference(name: str, table: str, nullable: bool = False) -> sa.Column[Any]:
    """A column that holds another row's id."""
    return sa.Column(name, sa.String(length=36), sa.ForeignKey(f"{table}.id"), nullable=nullable)


def index(table: str, *references: str) -> None:
    """The indexes of a new table."""
    op.create_index(op.f(f"ix_{table}_name"), table, ["name"], unique=True)
    for name in ("manifest_set", *references):
        op.create_index(op.f(f"ix_{table}_{name}"), table, [name], unique=False)


def upgrade() -> None:
    """Go from the revision before to this one."""
    op.create_table(
        "security_group", *common("security_group"), sa.Column("member_access", sa.Boolean(), nullable=False)
    )
    index("security_group")
    op.create_table(
        "security_group_rule",
        *common("security_group_rule"),
        reference("security_group_id", "security_group"),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("direction", sa.String(length=32), nullable=False),
        sa.Column("protocol", sa.String(length=32), nullable=False),
        sa.Column("ports", sa.String(length=11), nullable=True),
        sa.Column("cidr", sa.String(length=43), nullable=True),
        reference("remote_group_id", "security_group", nullable=True),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
    )
    index("security_group_rule", "security_group_id", "remote_group_id")
    op.create_table(
        "security_group_member",
        *common("security_group_member"),
        reference("nic_id", "nic"),
        reference("security_group_id", "security_group"),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.UniqueConstraint("nic_id", "security_group_id", name="once_in_each_group"),
    )
    index("security_group_member", "nic_id", "security_group_id")
    with op.batch_alter_table("nic") as batch:
        batch.add_column(sa.Column("anti_spoofing", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch.add_column(sa.Column("allowed_addresses", sa.JSON(), nullable=False, server_default=sa.text("('[]')")))
        batch.add_column(sa.Column("ingress_policy", sa.String(length=32), nullable=True))
        batch.add_column(sa.Column("egress_policy", sa.String(length=32), nullable=True))
    # Cards that are there already may send from addresses that nobody told zctl: they stay as they are.
    op.execute(sa.text("UPDATE nic SET anti_spoofing = 0"))
