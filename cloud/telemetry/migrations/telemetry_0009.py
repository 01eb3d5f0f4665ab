"""A newest value says of which positions it is newer."""

from alembic import op

revision = "telemetry_0009"
down_revision = "telemetry_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what decides between a live value and a record; what is there already has none of it, and goes by time."""
    op.execute("""
        ALTER TABLE telemetry.latest
            ADD COLUMN life bigint,
            ADD COLUMN sure boolean NOT NULL DEFAULT true,
            ADD COLUMN told bigint[];
        COMMENT ON COLUMN telemetry.latest.life IS 'Of a record: the first 64 bits of its incarnation.';
        COMMENT ON COLUMN telemetry.latest.sure IS 'Whether the clock of `at` was believed.';
        COMMENT ON COLUMN telemetry.latest.told IS
            'Of a live value: of lanes A, B and C in turn the life and the position up to which it is newer.';
    """)


def downgrade() -> None:
    """Take it away again."""
    op.execute("ALTER TABLE telemetry.latest DROP COLUMN life, DROP COLUMN sure, DROP COLUMN told")
