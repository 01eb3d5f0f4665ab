"""The hour until which the guest was granted to stay on, on the day on which his stay ends."""

from alembic import op

revision = "stays_0009"
down_revision = "stays_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody was granted anything of the kind yet.

    Where a process of the build before writes a stay, it ends as PMS and building say, until one of this build does.
    """
    op.execute("""
        ALTER TABLE stays.stay
            ADD COLUMN late_until timestamptz,
            ADD COLUMN late_sent boolean NOT NULL DEFAULT false;
        COMMENT ON COLUMN stays.stay.late_until IS 'Granted to the guest: he stays on until then, on the same day.';
        COMMENT ON COLUMN stays.stay.late_sent IS 'The PMS was told of that, or may have been.';
    """)


def downgrade() -> None:
    """Stays end when PMS and building say, as they did."""
    op.execute("""
        ALTER TABLE stays.reservation NO FORCE ROW LEVEL SECURITY; -- who migrates sees every row; the fence comes back
        ALTER TABLE stays.stay NO FORCE ROW LEVEL SECURITY;
        UPDATE stays.stay s SET expected_until = coalesce(s.edge_until, r.departure_at),
                                room = CASE WHEN s.state = 'left' THEN s.room END,
                                version = s.version + 1
          FROM stays.reservation r
         WHERE r.property = s.property AND r.system = s.system AND r.external_id = s.external_id
           AND s.late_until IS NOT NULL AND s.expected_until <> coalesce(s.edge_until, r.departure_at);
        ALTER TABLE stays.stay DROP COLUMN late_until, DROP COLUMN late_sent;
    """)
