"""A series of which nothing is left says since when, before it is let go."""

from alembic import op

revision = "telemetry_0008"
down_revision = "telemetry_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the mark, and find those that have it."""
    op.execute("""
        ALTER TABLE telemetry.series ADD COLUMN unused_since timestamptz;
        CREATE INDEX series_unused ON telemetry.series (unused_since) WHERE unused_since IS NOT NULL;
        COMMENT ON COLUMN telemetry.series.unused_since IS
            'Since when, on the clock of the database, no reading or roll-up names it and no writer has looked it up.';
    """)


def downgrade() -> None:
    """Take it away again."""
    op.execute("ALTER TABLE telemetry.series DROP COLUMN unused_since")
