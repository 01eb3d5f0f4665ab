"""Since when a wish cannot even be tried, whatever its age; and what is unsettled of a stay."""

from alembic import op

revision = "pms_0008"
down_revision = "pms_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let `pms.write_intent` say it."""
    op.execute("""
        ALTER TABLE pms.write_intent ADD COLUMN unread_since timestamptz;
        CREATE INDEX write_intent_unsettled ON pms.write_intent (property, stay, action, id)
            WHERE state IN ('pending', 'by_hand', 'failed');
    """)


def downgrade() -> None:
    """Forget it: patience is counted from the wish again."""
    op.execute("""
        DROP INDEX pms.write_intent_unsettled;
        ALTER TABLE pms.write_intent DROP COLUMN unread_since;
    """)
