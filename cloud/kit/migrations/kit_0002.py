"""The oldest of the events that are due are found by an index, however many wait."""

from alembic import op

revision = "kit_0002"
down_revision = "kit_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index what waits by when it is due: apart, what nobody has tried yet and what was tried; and what was given up.

    `event_waiting` finds the first of a subject and stays. Claims take from the front of the two new ones.
    """
    op.execute("""
        CREATE INDEX event_fresh ON outbox.event (not_before, id)
            WHERE relayed_at IS NULL AND parked_at IS NULL AND attempts = 0;
        CREATE INDEX event_tried ON outbox.event (not_before, id)
            WHERE relayed_at IS NULL AND parked_at IS NULL AND attempts > 0;
        CREATE INDEX event_parked ON outbox.event (parked_at) WHERE parked_at IS NOT NULL;
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP INDEX outbox.event_fresh, outbox.event_tried, outbox.event_parked")
