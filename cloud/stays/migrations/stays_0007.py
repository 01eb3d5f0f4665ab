"""The end of a stay that the building promised while nobody could ask the PMS."""

from alembic import op

revision = "stays_0007"
down_revision = "stays_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No building has said anything of the kind yet."""
    op.execute("""
        ALTER TABLE stays.stay
            ADD COLUMN edge_until timestamptz,
            ADD COLUMN edge_until_told timestamptz,
            ADD COLUMN edge_until_n bigint NOT NULL DEFAULT 0,
            ADD COLUMN edge_until_by text,
            ADD CONSTRAINT edge_until_told_with_it CHECK ((edge_until IS NULL) = (edge_until_told IS NULL));
        COMMENT ON COLUMN stays.stay.edge_until IS 'Promised by the building, and standing against the PMS''s word.';
        COMMENT ON COLUMN stays.stay.edge_until_told IS 'The end that the building was told when it promised.';
        COMMENT ON COLUMN stays.stay.edge_until_n IS 'Which word of the building on the end was heard last.';
    """)


def downgrade() -> None:
    """The PMS's word alone counts again."""
    op.execute("""
        ALTER TABLE stays.reservation NO FORCE ROW LEVEL SECURITY; -- who migrates sees every row
        ALTER TABLE stays.stay NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE stays.stay DROP COLUMN edge_until, DROP COLUMN edge_until_told, DROP COLUMN edge_until_n,
                               DROP COLUMN edge_until_by;
        UPDATE stays.stay s SET expected_until = r.departure_at, room = NULL, version = s.version + 1
          FROM stays.reservation r
         WHERE r.property = s.property AND r.system = s.system AND r.external_id = s.external_id
           AND s.expected_until <> r.departure_at;
    """)
