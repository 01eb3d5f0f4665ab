"""A newest value is written in its place: no index holds what every write changes."""

from alembic import op

revision = "telemetry_0007"
down_revision = "telemetry_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop `latest_changed`, so that an update is HOT: live streams look at devices by name (decision 0100)."""
    op.execute("DROP INDEX telemetry.latest_changed")


def downgrade() -> None:
    """Index the mark again."""
    op.execute("CREATE INDEX latest_changed ON telemetry.latest (property, changed)")
