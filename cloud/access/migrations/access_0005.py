"""Door events: the id by which a record at another maker's lock is known again."""

from alembic import op

revision = "access_0005"
down_revision = "access_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the id; a property has each once."""
    op.execute("""
        ALTER TABLE access.event ADD COLUMN event_id text;
        CREATE UNIQUE INDEX event_by_id ON access.event (property, event_id) WHERE event_id IS NOT NULL;
    """)


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE access.event DROP COLUMN event_id")
