"""The type of room that was booked, as the PMS tells it."""

from alembic import op

revision = "stays_0003"
down_revision = "stays_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rooms are assigned by it; null until the PMS is read again."""
    op.execute("""
        ALTER TABLE stays.reservation ADD COLUMN room_type text;
        COMMENT ON COLUMN stays.reservation.room_type IS 'Booked; our word if the settings know one, else the PMS''s.';
    """)


def downgrade() -> None:
    """Whoever assigns rooms names the type again."""
    op.execute("ALTER TABLE stays.reservation DROP COLUMN room_type")
