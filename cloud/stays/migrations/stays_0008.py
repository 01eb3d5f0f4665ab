"""What the PMS was told by us of the end of a stay, or may have been told."""

from alembic import op

revision = "stays_0008"
down_revision = "stays_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No PMS has been told anything of the kind yet. A process of the build before ends a promise and leaves this."""
    op.execute("""
        ALTER TABLE stays.stay
            ADD COLUMN edge_until_sent timestamptz[] NOT NULL DEFAULT '{}',
            ADD COLUMN pms_until_ours timestamptz;
        COMMENT ON COLUMN stays.stay.edge_until_sent IS
            'Ends of the building''s that the PMS was told or may have been told since it last agreed.';
        COMMENT ON COLUMN stays.stay.pms_until_ours IS 'The end that the PMS names, while it has it from us.';
    """)


def downgrade() -> None:
    """What comes back from the PMS is its own word again."""
    op.execute("ALTER TABLE stays.stay DROP COLUMN edge_until_sent, DROP COLUMN pms_until_ours")
