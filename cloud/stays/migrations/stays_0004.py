"""The room that the edge took a guest into, beside the one that the PMS asks for."""

from alembic import op

revision = "stays_0004"
down_revision = "stays_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A guest whom the edge checked in before this version is where the cloud had put him."""
    op.execute("""
        ALTER TABLE stays.stay ADD COLUMN edge_room text;
        COMMENT ON COLUMN stays.stay.edge_room IS 'The room whose door the guest''s key opens, as the edge said.';
        UPDATE stays.stay SET edge_room = room WHERE edge_state IS NOT NULL;
    """)


def downgrade() -> None:
    """The PMS's room counts again."""
    op.execute("ALTER TABLE stays.stay DROP COLUMN edge_room")
