"""Metadata as on EC2: keypairs, user data, host names, what networks tell."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from the revision before to this one."""
    op.create_table(
        "keypair",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_set", sa.String(length=80), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_keypair_name"), "keypair", ["name"], unique=True)
    op.create_index(op.f("ix_keypair_manifest_set"), "keypair", ["manifest_set"], unique=False)
    with op.batch_alter_table("l3_network") as batch:
        # Networks that are there already stay as they are until somebody switches it on.
        batch.add_column(sa.Column("metadata_service", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("image") as batch:
        batch.add_column(sa.Column("login", sa.String(length=32), nullable=True))
    with op.batch_alter_table("vm") as batch:
        batch.add_column(sa.Column("hostname", sa.String(length=63), nullable=True))
        batch.add_column(sa.Column("keypairs", sa.JSON(), nullable=True))
        batch.add_column(sa.Column("user_data", sa.Text(), nullable=True))
        batch.add_column(sa.Column("metadata_tokens", sa.String(length=32), nullable=False, server_default="optional"))
        batch.add_column(sa.Column("instance_generation", sa.Integer(), nullable=False, server_default="0"))
    op.execute(sa.text("UPDATE vm SET keypairs = '[]'"))
    with op.batch_alter_table("vm") as batch:
        batch.alter_column("keypairs", existing_type=sa.JSON(), nullable=False)
