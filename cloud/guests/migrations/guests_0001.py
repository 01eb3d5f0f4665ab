"""Profiles of guests, whose each reservation is, and which houses' PMS keep one set of guests."""

from alembic import op

revision = "guests_0001"
down_revision = None
branch_labels = ("guests",)
depends_on = None


def upgrade() -> None:
    """Create schema `guests`; it fills as reservations are read. A row that was erased keeps its id and nothing else.

    `last_until` counts for how long a profile is kept: the latest end of what he booked, or when he was erased.
    """
    op.execute("""
        CREATE SCHEMA guests;
        CREATE TABLE guests.profile (
            property      text NOT NULL,
            id            text NOT NULL,
            tenant        text NOT NULL,
            system        text NOT NULL,
            external_id   text,
            subject_key   bytea,
            sealed        bytea,
            preferences   bytea,
            first_seen_at timestamptz NOT NULL,
            changed_at    timestamptz NOT NULL,
            last_until    timestamptz NOT NULL,
            erased_at     timestamptz,
            PRIMARY KEY (property, id),
            CHECK (CASE WHEN erased_at IS NULL THEN num_nulls(external_id, subject_key, sealed) = 0
                        ELSE num_nonnulls(external_id, subject_key, sealed, preferences) = 0 END)
        );
        CREATE INDEX profile_over ON guests.profile (last_until);
        CREATE INDEX profile_of_pms ON guests.profile (tenant, system, external_id) WHERE erased_at IS NULL;
        CREATE TABLE guests.booking (
            property    text NOT NULL,
            system      text NOT NULL,
            external_id text NOT NULL,
            tenant      text NOT NULL,
            guest       text NOT NULL,
            PRIMARY KEY (property, system, external_id)
        );
        CREATE INDEX booking_of_guest ON guests.booking (property, guest);
        CREATE TABLE guests.directory (
            property text NOT NULL,
            system   text NOT NULL,
            tenant   text NOT NULL,
            name     text NOT NULL,
            PRIMARY KEY (property, system)
        );
        COMMENT ON TABLE guests.directory IS
            'Properties of one name here share their guests at that PMS: one id there is one person in all of them.';
    """)


def downgrade() -> None:
    """Drop schema `guests`: who came is forgotten, and read again of those who are to come."""
    op.execute("DROP SCHEMA guests CASCADE")
