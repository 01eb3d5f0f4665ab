"""Wishes that a stay ends on another day."""

from alembic import op

revision = "pms_0007"
down_revision = "pms_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let `pms.write_intent` hold them."""
    op.execute("""
        ALTER TABLE pms.write_intent DROP CONSTRAINT write_intent_action_check;
        ALTER TABLE pms.write_intent ADD CONSTRAINT write_intent_action_check
            CHECK (action IN ('check_in', 'check_out', 'assign_room', 'set_room_status', 'set_departure'));
    """)


def downgrade() -> None:
    """Drop them; the difference stays shown."""
    op.execute("""
        ALTER TABLE pms.write_intent NO FORCE ROW LEVEL SECURITY; -- who migrates sees every row
        DELETE FROM pms.write_intent WHERE action = 'set_departure';
        ALTER TABLE pms.write_intent DROP CONSTRAINT write_intent_action_check;
        ALTER TABLE pms.write_intent ADD CONSTRAINT write_intent_action_check
            CHECK (action IN ('check_in', 'check_out', 'assign_room', 'set_room_status'));
    """)
