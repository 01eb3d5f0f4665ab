"""Newest values are updated in place: their pages keep room for it."""

from alembic import op

revision = "telemetry_0005"
down_revision = "telemetry_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Fill pages of `latest` by half.

    Measured with 2,000 points updated 60 times, vacuumed every 20th: 1.3 MB against 5.4 MB, and no slower. The updates
    are not HOT either way, since `latest_changed` indexes what each changes; what is saved is that a new version finds
    room on the page of the old one.
    """
    op.execute("ALTER TABLE telemetry.latest SET (fillfactor = 50)")


def downgrade() -> None:
    """Fill them again."""
    op.execute("ALTER TABLE telemetry.latest RESET (fillfactor)")
