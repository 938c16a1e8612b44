"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from the revision before to this one."""
    op.create_table(
        "disk_offering",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("disk_offering", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_disk_offering_name"), ["name"], unique=True)

    op.create_table(
        "event",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("what", sa.String(length=1000), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.String(length=36), nullable=True),
        sa.Column("resource", sa.String(length=255), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=True),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_event_name"), ["name"], unique=True)
        batch_op.create_index(batch_op.f("ix_event_resource_id"), ["resource_id"], unique=False)

    op.create_table(
        "image",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("source", sa.String(length=1024), nullable=False),
        sa.Column("checksum", sa.String(length=71), nullable=True),
        sa.Column("format", sa.String(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("file_size", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_name"), ["name"], unique=True)

    op.create_table(
        "info",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("inventory", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "instance_offering",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("cpus", sa.Integer(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("instance_offering", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_instance_offering_name"), ["name"], unique=True)

    op.create_table(
        "job",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("verb", sa.String(length=255), nullable=False),
        sa.Column("targets", sa.JSON(), nullable=False),
        sa.Column("hosts", sa.JSON(), nullable=False),
        sa.Column("undo", sa.JSON(), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(), nullable=True),
        sa.Column("reason", sa.String(length=1000), nullable=True),
        sa.Column("error", sa.String(length=4000), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_name"), ["name"], unique=True)

    op.create_table(
        "tag",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("key", sa.String(length=63), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("resource_id", "key", name="one_value_per_key"),
    )
    with op.batch_alter_table("tag", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tag_name"), ["name"], unique=True)
        batch_op.create_index(batch_op.f("ix_tag_resource_id"), ["resource_id"], unique=False)

    op.create_table(
        "zone",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("reserved_memory", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("zone", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_zone_name"), ["name"], unique=True)

    op.create_table(
        "cluster",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("zone_id", sa.String(length=36), nullable=False),
        sa.Column("cpu_overcommit", sa.Float(), nullable=False),
        sa.Column("memory_overcommit", sa.Float(), nullable=False),
        sa.Column("reserved_memory", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["zone_id"],
            ["zone.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("cluster", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cluster_name"), ["name"], unique=True)
        batch_op.create_index(batch_op.f("ix_cluster_zone_id"), ["zone_id"], unique=False)

    op.create_table(
        "host",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("cluster_id", sa.String(length=36), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=True),
        sa.Column("host_key", sa.String(length=1024), nullable=True),
        sa.Column("virt_type", sa.String(length=32), nullable=False),
        sa.Column("reserved_memory", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("problem", sa.String(length=1000), nullable=True),
        sa.Column("cpus", sa.Integer(), nullable=True),
        sa.Column("memory", sa.BigInteger(), nullable=True),
        sa.Column("virtualization", sa.String(length=8), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["cluster.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("address"),
    )
    with op.batch_alter_table("host", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_host_cluster_id"), ["cluster_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_host_name"), ["name"], unique=True)

    op.create_table(
        "l2_network",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("zone_id", sa.String(length=36), nullable=False),
        sa.Column("cluster_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("physical_interface", sa.String(length=15), nullable=True),
        sa.Column("vni", sa.Integer(), nullable=True),
        sa.Column("mtu", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["cluster.id"],
        ),
        sa.ForeignKeyConstraint(
            ["zone_id"],
            ["zone.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("vni"),
    )
    with op.batch_alter_table("l2_network", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_l2_network_cluster_id"), ["cluster_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_l2_network_name"), ["name"], unique=True)
        batch_op.create_index(batch_op.f("ix_l2_network_zone_id"), ["zone_id"], unique=False)

    op.create_table(
        "primary_storage",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("zone_id", sa.String(length=36), nullable=False),
        sa.Column("cluster_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("overcommit", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["cluster.id"],
        ),
        sa.ForeignKeyConstraint(
            ["zone_id"],
            ["zone.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("primary_storage", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_primary_storage_cluster_id"), ["cluster_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_primary_storage_name"), ["name"], unique=True)
        batch_op.create_index(batch_op.f("ix_primary_storage_zone_id"), ["zone_id"], unique=False)

    op.create_table(
        "grave",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("host_id", sa.String(length=36), nullable=False),
        sa.Column("concern", sa.String(length=32), nullable=False),
        sa.Column("entry", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("grave", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_grave_host_id"), ["host_id"], unique=False)

    op.create_table(
        "l3_network",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("l2_network_id", sa.String(length=36), nullable=False),
        sa.Column("cidr", sa.String(length=43), nullable=False),
        sa.Column("gateway", sa.String(length=39), nullable=True),
        sa.Column("dns", sa.JSON(), nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=True),
        sa.Column("dhcp_ip", sa.String(length=39), nullable=True),
        sa.ForeignKeyConstraint(
            ["l2_network_id"],
            ["l2_network.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("l3_network", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_l3_network_l2_network_id"), ["l2_network_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_l3_network_name"), ["name"], unique=True)

    op.create_table(
        "lease",
        sa.Column("host_id", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("purpose", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("host_id"),
    )
    op.create_table(
        "outstanding",
        sa.Column("host_id", sa.String(length=36), nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("concerns", sa.String(length=128), nullable=False),
        sa.Column("token", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("host_id", "uuid"),
    )
    op.create_table(
        "storage_host",
        sa.Column("storage_id", sa.String(length=36), nullable=False),
        sa.Column("host_id", sa.String(length=36), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("free", sa.BigInteger(), nullable=True),
        sa.Column("token", sa.String(length=64), nullable=True),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["storage_id"], ["primary_storage.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("storage_id", "host_id"),
    )
    op.create_table(
        "vm",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("host_id", sa.String(length=36), nullable=True),
        sa.Column("cluster_id", sa.String(length=36), nullable=True),
        sa.Column("image_id", sa.String(length=36), nullable=False),
        sa.Column("instance_offering_id", sa.String(length=36), nullable=True),
        sa.Column("cpus", sa.Integer(), nullable=True),
        sa.Column("memory", sa.BigInteger(), nullable=True),
        sa.Column("power", sa.String(length=32), nullable=False),
        sa.Column("autostart", sa.Boolean(), nullable=False),
        sa.Column("stop_timeout", sa.Integer(), nullable=False),
        sa.Column("domain", sa.String(length=80), nullable=True),
        sa.Column("reboot_token", sa.String(length=36), nullable=True),
        sa.Column("pending", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["cluster.id"],
        ),
        sa.ForeignKeyConstraint(
            ["host_id"],
            ["host.id"],
        ),
        sa.ForeignKeyConstraint(
            ["image_id"],
            ["image.id"],
        ),
        sa.ForeignKeyConstraint(
            ["instance_offering_id"],
            ["instance_offering.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("domain"),
    )
    with op.batch_alter_table("vm", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vm_cluster_id"), ["cluster_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_host_id"), ["host_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_image_id"), ["image_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_instance_offering_id"), ["instance_offering_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_name"), ["name"], unique=True)

    op.create_table(
        "ip_range",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("l3_network_id", sa.String(length=36), nullable=False),
        sa.Column("start", sa.String(length=39), nullable=False),
        sa.Column("end", sa.String(length=39), nullable=False),
        sa.ForeignKeyConstraint(
            ["l3_network_id"],
            ["l3_network.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("ip_range", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ip_range_l3_network_id"), ["l3_network_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ip_range_name"), ["name"], unique=True)

    op.create_table(
        "nic",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("vm_id", sa.String(length=36), nullable=False),
        sa.Column("l3_network_id", sa.String(length=36), nullable=False),
        sa.Column("ip", sa.String(length=39), nullable=True),
        sa.Column("mac", sa.String(length=17), nullable=True),
        sa.Column("device", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["l3_network_id"],
            ["l3_network.id"],
        ),
        sa.ForeignKeyConstraint(
            ["vm_id"],
            ["vm.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("l3_network_id", "ip", name="one_nic_per_address"),
        sa.UniqueConstraint("mac"),
    )
    with op.batch_alter_table("nic", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_nic_l3_network_id"), ["l3_network_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_nic_name"), ["name"], unique=True)
        batch_op.create_index(batch_op.f("ix_nic_vm_id"), ["vm_id"], unique=False)

    op.create_table(
        "volume",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("vm_id", sa.String(length=36), nullable=True),
        sa.Column("primary_storage_id", sa.String(length=36), nullable=False),
        sa.Column("host_id", sa.String(length=36), nullable=True),
        sa.Column("image_id", sa.String(length=36), nullable=True),
        sa.Column("disk_offering_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("device", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["disk_offering_id"],
            ["disk_offering.id"],
        ),
        sa.ForeignKeyConstraint(
            ["host_id"],
            ["host.id"],
        ),
        sa.ForeignKeyConstraint(
            ["image_id"],
            ["image.id"],
        ),
        sa.ForeignKeyConstraint(
            ["primary_storage_id"],
            ["primary_storage.id"],
        ),
        sa.ForeignKeyConstraint(
            ["vm_id"],
            ["vm.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("volume", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_disk_offering_id"), ["disk_offering_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_host_id"), ["host_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_image_id"), ["image_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_name"), ["name"], unique=True)
        batch_op.create_index(batch_op.f("ix_volume_primary_storage_id"), ["primary_storage_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_vm_id"), ["vm_id"], unique=False)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("volume", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_volume_vm_id"))
        batch_op.drop_index(batch_op.f("ix_volume_primary_storage_id"))
        batch_op.drop_index(batch_op.f("ix_volume_name"))
        batch_op.drop_index(batch_op.f("ix_volume_image_id"))
        batch_op.drop_index(batch_op.f("ix_volume_host_id"))
        batch_op.drop_index(batch_op.f("ix_volume_disk_offering_id"))

    op.drop_table("volume")
    with op.batch_alter_table("nic", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_nic_vm_id"))
        batch_op.drop_index(batch_op.f("ix_nic_name"))
        batch_op.drop_index(batch_op.f("ix_nic_l3_network_id"))

    op.drop_table("nic")
    with op.batch_alter_table("ip_range", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ip_range_name"))
        batch_op.drop_index(batch_op.f("ix_ip_range_l3_network_id"))

    op.drop_table("ip_range")
    with op.batch_alter_table("vm", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vm_name"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_offering_id"))
        batch_op.drop_index(batch_op.f("ix_vm_image_id"))
        batch_op.drop_index(batch_op.f("ix_vm_host_id"))
        batch_op.drop_index(batch_op.f("ix_vm_cluster_id"))

    op.drop_table("vm")
    op.drop_table("storage_host")
    op.drop_table("outstanding")
    op.drop_table("lease")
    with op.batch_alter_table("l3_network", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_l3_network_name"))
        batch_op.drop_index(batch_op.f("ix_l3_network_l2_network_id"))

    op.drop_table("l3_network")
    with op.batch_alter_table("grave", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_grave_host_id"))

    op.drop_table("grave")
    with op.batch_alter_table("primary_storage", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_primary_storage_zone_id"))
        batch_op.drop_index(batch_op.f("ix_primary_storage_name"))
        batch_op.drop_index(batch_op.f("ix_primary_storage_cluster_id"))

    op.drop_table("primary_storage")
    with op.batch_alter_table("l2_network", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_l2_network_zone_id"))
        batch_op.drop_index(batch_op.f("ix_l2_network_name"))
        batch_op.drop_index(batch_op.f("ix_l2_network_cluster_id"))

    op.drop_table("l2_network")
    with op.batch_alter_table("host", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_host_name"))
        batch_op.drop_index(batch_op.f("ix_host_cluster_id"))

    op.drop_table("host")
    with op.batch_alter_table("cluster", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_cluster_zone_id"))
        batch_op.drop_index(batch_op.f("ix_cluster_name"))

    op.drop_table("cluster")
    with op.batch_alter_table("zone", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_zone_name"))

    op.drop_table("zone")
    with op.batch_alter_table("tag", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tag_resource_id"))
        batch_op.drop_index(batch_op.f("ix_tag_name"))

    op.drop_table("tag")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_name"))

    op.drop_table("job")
    with op.batch_alter_table("instance_offering", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_instance_offering_name"))

    op.drop_table("instance_offering")
    op.drop_table("info")
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_name"))

    op.drop_table("image")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_resource_id"))
        batch_op.drop_index(batch_op.f("ix_event_name"))
        batch_op.drop_index(batch_op.f("ix_event_at"))

    op.drop_table("event")
    with op.batch_alter_table("disk_offering", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_disk_offering_name"))

    op.drop_table("disk_offering")
