"""Emergency keys: a draft or a key that was taken back, and by whom."""

from alembic import op

revision = "access_0004"
down_revision = "access_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add who took it back, and when."""
    op.execute("""
        ALTER TABLE access.emergency_draft ADD COLUMN withdrawn_at timestamptz, ADD COLUMN withdrawn_by text;
        CREATE INDEX emergency_draft_newest ON access.emergency_draft (property, drafted_at DESC);
    """)


def downgrade() -> None:
    """Forget it."""
    op.execute("""
        DROP INDEX access.emergency_draft_newest;
        ALTER TABLE access.emergency_draft DROP COLUMN withdrawn_at, DROP COLUMN withdrawn_by;
    """)
