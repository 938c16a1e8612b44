"""IPv6: a second subnet of l3-networks, a second address of cards, vips of either family."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from the revision before to this one."""
    with op.batch_alter_table("l3_network") as batch:
        batch.add_column(sa.Column("cidr6", sa.String(length=43), nullable=True))
        batch.add_column(sa.Column("gateway6", sa.String(length=39), nullable=True))
        batch.add_column(sa.Column("dhcp_ip6", sa.String(length=39), nullable=True))
    with op.batch_alter_table("nic") as batch:
        batch.add_column(sa.Column("ip6", sa.String(length=39), nullable=True))
        batch.create_unique_constraint("one_nic_per_ipv6_address", ["l3_network_id", "ip6"])
    with op.batch_alter_table("vip") as batch:
        batch.add_column(sa.Column("address_family", sa.String(length=32), nullable=True))
    op.execute(sa.text("UPDATE vip SET address_family = 'ipv4'"))
