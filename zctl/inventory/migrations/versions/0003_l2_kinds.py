"""VLANs, tunnels between hosts that are told of each other, bandwidth of network cards."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from the revision before to this one."""
    op.add_column("l2_network", sa.Column("vlan", sa.Integer(), nullable=True))
    op.add_column("l2_network", sa.Column("peers", sa.String(length=32), nullable=True))
    op.execute("UPDATE l2_network SET peers = 'multicast' WHERE kind = 'vxlan'")
    for name in ("inbound", "outbound"):
        op.add_column("nic", sa.Column(name, sa.String(length=16), nullable=True))
