"""Door events stand where they can have happened: no later than they reached us, whatever the clock there says."""

from alembic import op

revision = "access_0002"
down_revision = "access_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Order by `stood_at`; keep when a door's last event arrived."""
    op.execute("""
        ALTER TABLE access.event ADD COLUMN stood_at timestamptz GENERATED ALWAYS AS (least(at, received_at)) STORED;
        DROP INDEX access.event_newest;
        CREATE INDEX event_newest ON access.event (property, stood_at DESC, id DESC);
        ALTER TABLE access.event NO FORCE ROW LEVEL SECURITY; -- who migrates sees every row; the fence comes back
        ALTER TABLE access.lock NO FORCE ROW LEVEL SECURITY;  -- at the end of every upgrade
        ALTER TABLE access.lock ADD COLUMN last_received_at timestamptz;
        UPDATE access.lock SET last_received_at = last_at;
        UPDATE access.lock AS lock
           SET last_event = newest.event, last_reason = newest.reason, last_at = newest.at,
               last_received_at = newest.received_at
          FROM (SELECT DISTINCT ON (property, door) property, door, event, reason, at, received_at
                  FROM access.event ORDER BY property, door, stood_at DESC, at DESC, id DESC) AS newest
         WHERE (lock.property, lock.door) = (newest.property, newest.door);
        ALTER TABLE access.lock ALTER COLUMN last_received_at SET NOT NULL;
    """)


def downgrade() -> None:
    """Order by the clock at the door again."""
    op.execute("""
        ALTER TABLE access.lock DROP COLUMN last_received_at;
        DROP INDEX access.event_newest;
        ALTER TABLE access.event DROP COLUMN stood_at;
        CREATE INDEX event_newest ON access.event (property, at DESC, id DESC);
    """)
