"""Wishes for rooms and their condition, wishes that a person grants by hand, and where mirror and PMS drifted apart."""

from alembic import op

revision = "pms_0003"
down_revision = "pms_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create `pms.drift`; widen `pms.write_intent`."""
    op.execute("""
        ALTER TABLE pms.connection ADD COLUMN near_at timestamptz;
        ALTER TABLE pms.write_intent ADD COLUMN target text;
        ALTER TABLE pms.write_intent ALTER COLUMN stay DROP NOT NULL;
        ALTER TABLE pms.write_intent DROP CONSTRAINT write_intent_action_check;
        ALTER TABLE pms.write_intent ADD CONSTRAINT write_intent_action_check
            CHECK (action IN ('check_in', 'check_out', 'assign_room', 'set_room_status'));
        ALTER TABLE pms.write_intent DROP CONSTRAINT write_intent_state_check;
        ALTER TABLE pms.write_intent ADD CONSTRAINT write_intent_state_check
            CHECK (state IN ('pending', 'done', 'failed', 'overtaken', 'by_hand'));
        CREATE TABLE pms.drift (
            property    text NOT NULL,
            system      text NOT NULL,
            external_id text NOT NULL,
            kind        text NOT NULL CHECK (kind IN ('missing', 'stale', 'gone')),
            detail      text NOT NULL,
            times       integer NOT NULL DEFAULT 1,
            first_at    timestamptz NOT NULL,
            last_at     timestamptz NOT NULL,
            PRIMARY KEY (property, system, external_id)
        );
    """)


def downgrade() -> None:
    """Drop what `upgrade` made; wishes that the older schema does not know are dropped too."""
    op.execute("""
        DROP TABLE pms.drift;
        DELETE FROM pms.write_intent
         WHERE action IN ('assign_room', 'set_room_status') OR state = 'by_hand' OR stay IS NULL;
        ALTER TABLE pms.write_intent DROP CONSTRAINT write_intent_action_check;
        ALTER TABLE pms.write_intent ADD CONSTRAINT write_intent_action_check
            CHECK (action IN ('check_in', 'check_out'));
        ALTER TABLE pms.write_intent DROP CONSTRAINT write_intent_state_check;
        ALTER TABLE pms.write_intent ADD CONSTRAINT write_intent_state_check
            CHECK (state IN ('pending', 'done', 'failed', 'overtaken'));
        ALTER TABLE pms.write_intent ALTER COLUMN stay SET NOT NULL;
        ALTER TABLE pms.write_intent DROP COLUMN target;
        ALTER TABLE pms.connection DROP COLUMN near_at;
    """)
