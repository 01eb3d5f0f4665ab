"""Reservations of several rooms at Cloudbeds are named `reservationID~subReservationID`: what is stored as well.

They were stored by their subReservationID alone. A stay keeps its own id, and with it its keys, sessions and records:
`cloud/stays/stays.py` goes on with the stay that a reservation has. Where the same room was mirrored under both names,
the stay that an edge knows something of is kept.
"""

from alembic import op

revision = "stays_0006"
down_revision = "stays_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename; the older of two mirrors of one room goes, but for a guest whom an edge has taken in."""
    op.execute("""
        ALTER TABLE stays.reservation NO FORCE ROW LEVEL SECURITY; -- who migrates sees every row; the fence comes back
        ALTER TABLE stays.stay NO FORCE ROW LEVEL SECURITY;        -- at the end of every upgrade
        CREATE TEMPORARY TABLE renamed ON COMMIT DROP AS
            SELECT r.property, r.external_id AS old, r.number || '~' || r.external_id AS new,
                   coalesce(s.edge_state IS NOT NULL, false) AS old_known,
                   EXISTS (SELECT FROM stays.reservation n WHERE n.property = r.property AND n.system = r.system
                              AND n.external_id = r.number || '~' || r.external_id) AS twice,
                   EXISTS (SELECT FROM stays.stay n WHERE n.property = r.property AND n.system = r.system
                              AND n.external_id = r.number || '~' || r.external_id AND n.edge_state IS NOT NULL)
                       AS new_known
              FROM stays.reservation r LEFT JOIN stays.stay s USING (property, system, external_id)
             WHERE r.system = 'cloudbeds' AND r.number IS NOT NULL AND r.number <> r.external_id
               AND position('~' in r.external_id) = 0;
        -- mirrored under both names: one of them goes
        UPDATE stays.stay s SET state = 'void', room = NULL, version = s.version + 1 FROM renamed n
         WHERE s.system = 'cloudbeds' AND s.property = n.property AND s.external_id = n.old AND n.twice
           AND n.new_known AND n.old_known;
        DELETE FROM stays.stay s USING renamed n
         WHERE s.system = 'cloudbeds' AND s.property = n.property AND n.twice
           AND s.external_id = CASE WHEN n.new_known THEN n.old ELSE n.new END AND NOT (n.new_known AND n.old_known);
        UPDATE stays.reservation r SET status = 'cancelled' FROM renamed n
         WHERE r.system = 'cloudbeds' AND r.property = n.property AND r.external_id = n.old AND n.twice
           AND n.new_known AND n.old_known AND r.status IN ('option', 'booked', 'in_house');
        DELETE FROM stays.reservation r USING renamed n
         WHERE r.system = 'cloudbeds' AND r.property = n.property AND n.twice
           AND r.external_id = CASE WHEN n.new_known THEN n.old ELSE n.new END AND NOT (n.new_known AND n.old_known);
        UPDATE stays.stay s SET external_id = n.new FROM renamed n
         WHERE s.system = 'cloudbeds' AND s.property = n.property AND s.external_id = n.old AND NOT n.new_known;
        UPDATE stays.reservation r SET external_id = n.new FROM renamed n
         WHERE r.system = 'cloudbeds' AND r.property = n.property AND r.external_id = n.old AND NOT n.new_known;
    """)


def downgrade() -> None:
    """Name them by their subReservationID again."""
    op.execute("""
        ALTER TABLE stays.reservation NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE stays.stay NO FORCE ROW LEVEL SECURITY;
        UPDATE stays.stay SET external_id = split_part(external_id, '~', 2)
         WHERE system = 'cloudbeds' AND position('~' in external_id) > 0;
        UPDATE stays.reservation SET external_id = split_part(external_id, '~', 2)
         WHERE system = 'cloudbeds' AND position('~' in external_id) > 0;
    """)
