"""Sets of manifests own resources; VMs that were there before zctl can be adopted; boot order."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    "cluster",
    "disk_offering",
    "event",
    "host",
    "image",
    "instance_offering",
    "ip_range",
    "job",
    "l2_network",
    "l3_network",
    "nic",
    "primary_storage",
    "tag",
    "vm",
    "volume",
    "zone",
)


def upgrade() -> None:
    """Go from the revision before to this one."""
    for table in TABLES:
        op.add_column(table, sa.Column("manifest_set", sa.String(length=80), nullable=True))
        op.create_index(op.f(f"ix_{table}_manifest_set"), table, ["manifest_set"], unique=False)
    with op.batch_alter_table("vm") as batch:
        batch.alter_column("image_id", existing_type=sa.String(length=36), nullable=True)
        batch.add_column(sa.Column("boot", sa.String(length=32), nullable=False, server_default="disk"))
        batch.add_column(sa.Column("adopted", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("virt_type", sa.String(length=8), nullable=True))
    with op.batch_alter_table("volume") as batch:
        batch.alter_column("primary_storage_id", existing_type=sa.String(length=36), nullable=True)
        batch.add_column(sa.Column("format", sa.String(length=16), nullable=False, server_default="qcow2"))
        batch.add_column(sa.Column("file", sa.String(length=1024), nullable=True))
        batch.add_column(sa.Column("target", sa.String(length=16), nullable=True))
    with op.batch_alter_table("nic") as batch:
        batch.alter_column("l3_network_id", existing_type=sa.String(length=36), nullable=True)
        batch.add_column(sa.Column("bridge", sa.String(length=255), nullable=True))
