"""Rooms, the mirror of reservations, stays, and the document of stays that the edge holds."""

from alembic import op

revision = "stays_0001"
down_revision = None
branch_labels = ("stays",)
depends_on = None


def upgrade() -> None:
    """Create schema `stays`."""
    op.execute("""
        CREATE SCHEMA stays;
        CREATE EXTENSION IF NOT EXISTS btree_gist;
        CREATE TABLE stays.room (
            property     text NOT NULL,
            id           text NOT NULL,
            tenant       text NOT NULL,
            position     integer NOT NULL,
            floor        integer,
            kind         text NOT NULL,
            type         text,
            door         text,
            lock         text,
            retired_at   timestamptz,
            housekeeping text,
            housekeeping_at timestamptz,
            mode         text,
            mode_cause   text,
            mode_at      timestamptz,
            mode_incarnation bytea,
            mode_seq     bigint,
            PRIMARY KEY (property, id)
        );
        CREATE TABLE stays.reservation (
            property     text NOT NULL,
            system       text NOT NULL,
            external_id  text NOT NULL,
            tenant       text NOT NULL,
            number       text,
            status       text NOT NULL CHECK (status IN
                ('option', 'booked', 'in_house', 'left', 'cancelled', 'no_show')),
            room         text,
            guest_name   text NOT NULL,
            arrival_at   timestamptz NOT NULL,
            departure_at timestamptz NOT NULL,
            adults       integer,
            children     integer,
            updated_at   timestamptz NOT NULL,
            freshness_at timestamptz NOT NULL,
            PRIMARY KEY (property, system, external_id),
            CHECK (departure_at > arrival_at)
        );
        CREATE INDEX reservation_arrival ON stays.reservation (property, arrival_at);
        CREATE INDEX reservation_updated ON stays.reservation (property, updated_at);
        CREATE TABLE stays.stay (
            property       text NOT NULL,
            id             text NOT NULL,
            tenant         text NOT NULL,
            system         text NOT NULL,
            external_id    text NOT NULL,
            state          text NOT NULL CHECK (state IN ('planned', 'ready', 'in_house', 'left', 'void')),
            room           text,
            room_asked     text,
            guest_name     text NOT NULL,
            expected_from  timestamptz NOT NULL,
            expected_until timestamptz NOT NULL,
            actual_in      timestamptz,
            actual_out     timestamptz,
            edge_state     text CHECK (edge_state IN ('checked_in', 'checked_out')),
            edge_at        timestamptz,
            edge_incarnation bytea,
            edge_seq       bigint,
            edge_by        text,
            version        bigint NOT NULL DEFAULT 1,
            document_version bigint,
            updated_at     timestamptz NOT NULL,
            PRIMARY KEY (property, id),
            UNIQUE (property, system, external_id),
            CHECK (expected_until > expected_from),
            CONSTRAINT one_active_stay_a_room EXCLUDE USING gist (
                property WITH =, room WITH =, tstzrange(expected_from, expected_until) WITH &&
            ) WHERE (state IN ('planned', 'ready', 'in_house') AND room IS NOT NULL)
        );
        CREATE UNIQUE INDEX one_guest_in_house_a_room ON stays.stay (property, room)
            WHERE state = 'in_house' AND room IS NOT NULL;
        CREATE INDEX stay_window ON stays.stay (property, expected_from);
        CREATE INDEX stay_active ON stays.stay (property) WHERE state IN ('planned', 'ready', 'in_house');
        CREATE TABLE stays.document (
            property          text PRIMARY KEY,
            tenant            text NOT NULL,
            edge              text NOT NULL,
            version           bigint NOT NULL,
            digest            bytea NOT NULL,
            body              jsonb NOT NULL,
            made_at           timestamptz NOT NULL,
            published_version bigint NOT NULL DEFAULT 0,
            published_at      timestamptz,
            held_version      bigint NOT NULL DEFAULT 0,
            held_at           timestamptz
        );
    """)


def downgrade() -> None:
    """Drop schema `stays`."""
    op.execute("DROP SCHEMA stays CASCADE")
