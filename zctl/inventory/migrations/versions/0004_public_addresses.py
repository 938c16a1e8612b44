"""Public addresses: vips and eips; gateways that every host has."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def common() -> list[sa.Column[object]]:
    """The columns that every resource has."""
    return [
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_set", sa.String(length=80), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
    ]


def indexes(table: str, *columns: str, unique: tuple[str, ...] = ("name",)) -> None:
    """The indexes of a resource's table."""
    for column in ("name", "manifest_set", *columns):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=column in unique)


def upgrade() -> None:
    """Go from the revision before to this one."""
    with op.batch_alter_table("l3_network") as batch:
        batch.add_column(sa.Column("gateway_on", sa.String(length=32), nullable=False, server_default="router"))
        batch.add_column(sa.Column("public", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "vip",
        *common(),
        sa.Column("l3_network_id", sa.String(length=36), nullable=False),
        sa.Column("ip", sa.String(length=39), nullable=True),
        sa.Column("made_for", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["l3_network_id"], ["l3_network.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("l3_network_id", "ip", name="one_vip_per_address"),
    )
    indexes("vip", "l3_network_id")
    op.create_table(
        "eip",
        *common(),
        sa.Column("vip_id", sa.String(length=36), nullable=True),
        sa.Column("nic_id", sa.String(length=36), nullable=True),
        sa.Column("host_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["vip_id"], ["vip.id"]),
        sa.ForeignKeyConstraint(["nic_id"], ["nic.id"]),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    indexes("eip", "vip_id", "nic_id", "host_id", unique=("name", "vip_id"))
    op.create_table(
        "nat_gateway",
        *common(),
        sa.Column("l3_network_id", sa.String(length=36), nullable=False),
        sa.Column("vip_id", sa.String(length=36), nullable=True),
        sa.Column("host_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["l3_network_id"], ["l3_network.id"]),
        sa.ForeignKeyConstraint(["vip_id"], ["vip.id"]),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    indexes("nat_gateway", "l3_network_id", "vip_id", "host_id", unique=("name", "l3_network_id"))
    op.create_table(
        "port_forwarding",
        *common(),
        sa.Column("vip_id", sa.String(length=36), nullable=False),
        sa.Column("protocol", sa.String(length=32), nullable=False),
        sa.Column("ports", sa.String(length=11), nullable=False),
        sa.Column("nic_id", sa.String(length=36), nullable=False),
        sa.Column("private_port", sa.Integer(), nullable=True),
        sa.Column("allowed_cidr", sa.String(length=43), nullable=True),
        sa.ForeignKeyConstraint(["vip_id"], ["vip.id"]),
        sa.ForeignKeyConstraint(["nic_id"], ["nic.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    indexes("port_forwarding", "vip_id", "nic_id")
