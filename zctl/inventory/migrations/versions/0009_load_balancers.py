"""Load balancers."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def common(name_length: int = 80) -> list[sa.Column[object]]:
    """The columns that every resource has."""
    return [
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=name_length), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_set", sa.String(length=80), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
    ]


def upgrade() -> None:
    """Go from the revision before to this one."""
    op.create_table(
        "load_balancer",
        *common(),
        sa.Column("vip_id", sa.String(length=36), nullable=True),
        sa.Column("l3_network_id", sa.String(length=36), nullable=False),
        sa.Column("protocol", sa.String(length=32), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("health_check_interval", sa.Integer(), nullable=False),
        sa.Column("health_check_timeout", sa.Integer(), nullable=False),
        sa.Column("healthy_threshold", sa.Integer(), nullable=False),
        sa.Column("unhealthy_threshold", sa.Integer(), nullable=False),
        sa.Column("idle_timeout", sa.Integer(), nullable=False),
        sa.Column("allowed_cidrs", sa.JSON(), nullable=False),
        sa.Column("proxy_protocol", sa.Boolean(), nullable=False),
        sa.Column("source_ip", sa.String(length=39), nullable=True),
        sa.ForeignKeyConstraint(["vip_id"], ["vip.id"]),
        sa.ForeignKeyConstraint(["l3_network_id"], ["l3_network.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("vip_id", "protocol", "port", name="one_load_balancer_per_port"),
    )
    op.create_table(
        "load_balancer_target",
        *common(168),
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("nic_id", sa.String(length=36), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["load_balancer_id"], ["load_balancer.id"]),
        sa.ForeignKeyConstraint(["nic_id"], ["nic.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("load_balancer_id", "nic_id", "port", name="once_in_each_load_balancer"),
    )
    for table, name_is_unique, columns in (
        ("load_balancer", True, ("vip_id", "l3_network_id")),
        ("load_balancer_target", False, ("load_balancer_id", "nic_id")),
    ):
        op.create_index(op.f(f"ix_{table}_name"), table, ["name"], unique=name_is_unique)
        for column in ("manifest_set", *columns):
            op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)
