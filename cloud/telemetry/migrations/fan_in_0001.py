"""Leases of shards, and the workers that hold them."""

from alembic import op

revision = "fan_in_0001"
down_revision = None
branch_labels = ("fan_in",)
depends_on = "telemetry_0001"


def upgrade() -> None:
    """Create the 64 shards, all free.

    `token` counts up with every change of owner; it is never set back, also not when a lease is given up.
    """
    op.execute("""
        CREATE TABLE telemetry.shard (
            shard      smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
            owner      text,
            token      bigint NOT NULL DEFAULT 0,
            expires_at timestamptz NOT NULL DEFAULT '-infinity',
            offered    boolean NOT NULL DEFAULT false
        ) WITH (fillfactor = 50);
        INSERT INTO telemetry.shard (shard) SELECT generate_series(0, 63);
        CREATE TABLE telemetry.worker (
            id      text PRIMARY KEY,
            staying boolean NOT NULL,
            seen_at timestamptz NOT NULL
        );
    """)


def downgrade() -> None:
    """Drop leases and workers."""
    op.execute("DROP TABLE telemetry.shard; DROP TABLE telemetry.worker")
