"""Tell a command that never left from one that was refused: the first may be tried again under its own key."""

from alembic import op

revision = "fleet_0002"
down_revision = "fleet_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `never_left`."""
    op.execute("ALTER TABLE fleet.command ADD COLUMN never_left boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE fleet.command DROP COLUMN never_left")
