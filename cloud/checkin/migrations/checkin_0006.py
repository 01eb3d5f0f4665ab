"""Steps that a kiosk took while its house was cut off: kept beside what was done here, none in place of the other."""

from alembic import op

revision = "checkin_0006"
down_revision = "checkin_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """`kiosk` is what the kiosk told of a step; `here` what stood here beside it, null where nothing did."""
    op.execute("ALTER TABLE checkin.step ADD COLUMN kiosk jsonb, ADD COLUMN here jsonb")


def downgrade() -> None:
    """Keep what the two came to."""
    op.execute("ALTER TABLE checkin.step DROP COLUMN kiosk, DROP COLUMN here")
