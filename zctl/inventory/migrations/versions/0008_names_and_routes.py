"""Names of VMs in their networks, and further routes of guests."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from the revision before to this one."""
    with op.batch_alter_table("l3_network") as batch:
        # Networks that are there already stay as they are until somebody switches it on.
        batch.add_column(sa.Column("dns_service", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("routes", sa.JSON(), nullable=True))
    op.execute(sa.text("UPDATE l3_network SET routes = '[]'"))
    with op.batch_alter_table("l3_network") as batch:
        batch.alter_column("routes", existing_type=sa.JSON(), nullable=False)
