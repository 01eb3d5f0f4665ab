"""The room on which PMS and house last agreed for a guest who is in: another one named later is a move."""

from alembic import op

revision = "stays_0005"
down_revision = "stays_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Guests who are in now have agreed rooms once the PMS is read again."""
    op.execute("""
        ALTER TABLE stays.stay ADD COLUMN agreed_room text;
        COMMENT ON COLUMN stays.stay.agreed_room IS 'In house there by PMS and by key, the last time that was so.';
    """)


def downgrade() -> None:
    """Moves are for the desk again."""
    op.execute("ALTER TABLE stays.stay DROP COLUMN agreed_room")
