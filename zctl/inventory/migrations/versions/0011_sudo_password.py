"""A password for sudo, encrypted, beside each host."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from the revision before to this one."""
    with op.batch_alter_table("host") as batch:
        batch.add_column(sa.Column("sudo_password", sa.String(1024), nullable=True))
