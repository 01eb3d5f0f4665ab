"""Where a chain's event stream was left, of each property that it tells of."""

from alembic import op

revision = "pms_0004"
down_revision = "pms_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A connection that has listened to no stream yet has no offset."""
    op.execute("""
        ALTER TABLE pms.connection ADD COLUMN stream_offset text, ADD COLUMN stream_at timestamptz;
        COMMENT ON COLUMN pms.connection.stream_offset IS 'Where the next subscription to its event stream begins.';
    """)


def downgrade() -> None:
    """The queue of events is emptied again, and a stream begins where it is."""
    op.execute("ALTER TABLE pms.connection DROP COLUMN stream_offset, DROP COLUMN stream_at")
