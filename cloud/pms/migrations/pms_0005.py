"""What waits for a room's reservation at Cloudbeds names it `reservationID~subReservationID` (see stays_0006)."""

from alembic import op

revision = "pms_0005"
down_revision = "pms_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the wishes; what was found of the old names is found anew by the next comparison.

    The older name was the reservation's with -1, -2 behind it: nothing else was ever read of it.
    """
    op.execute(r"""
        ALTER TABLE pms.write_intent NO FORCE ROW LEVEL SECURITY; -- who migrates sees every row; the fence comes back
        ALTER TABLE pms.drift NO FORCE ROW LEVEL SECURITY;        -- at the end of every upgrade
        ALTER TABLE pms.issue NO FORCE ROW LEVEL SECURITY;
        UPDATE pms.write_intent
           SET external_id = regexp_replace(external_id, '-[0-9]{1,3}$', '') || '~' || external_id
         WHERE system = 'cloudbeds' AND action <> 'set_room_status' AND external_id ~ '^[^~]+-[0-9]{1,3}$';
        DELETE FROM pms.drift WHERE system = 'cloudbeds' AND external_id ~ '^[^~]+-[0-9]{1,3}$';
        DELETE FROM pms.issue
         WHERE system = 'cloudbeds' AND kind = 'reservation' AND external_id ~ '^[^~]+-[0-9]{1,3}$';
    """)


def downgrade() -> None:
    """Name them as before."""
    op.execute("""
        ALTER TABLE pms.write_intent NO FORCE ROW LEVEL SECURITY;
        UPDATE pms.write_intent SET external_id = split_part(external_id, '~', 2)
         WHERE system = 'cloudbeds' AND position('~' in external_id) > 0;
    """)
