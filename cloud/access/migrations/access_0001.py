"""What happened at the doors, and which grants we have seen."""

from alembic import op

revision = "access_0001"
down_revision = None
branch_labels = ("access",)
depends_on = None


def upgrade() -> None:
    """Create schema `access`."""
    op.execute("""
        CREATE SCHEMA access;
        CREATE TABLE access.event (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant       text NOT NULL,
            property     text NOT NULL,
            edge         text NOT NULL,
            incarnation  bytea NOT NULL,
            seq          bigint NOT NULL,
            door         text NOT NULL,
            room         text,
            lock         text,
            lock_seq     bigint,
            at           timestamptz NOT NULL,
            time_quality text,
            event        text NOT NULL,
            reason       text,
            grant_id     text,
            stay         text,
            generation   bigint,
            battery      double precision,
            received_at  timestamptz NOT NULL,
            UNIQUE (edge, incarnation, seq)
        );
        CREATE UNIQUE INDEX event_of_lock ON access.event (property, lock, lock_seq, event, at)
            WHERE lock IS NOT NULL AND lock_seq IS NOT NULL;
        CREATE INDEX event_newest ON access.event (property, at DESC, id DESC);
        CREATE INDEX event_of_stay ON access.event (property, stay, at DESC) WHERE stay IS NOT NULL;
        CREATE TABLE access.seen_grant (
            property      text NOT NULL,
            id            text NOT NULL,
            tenant        text NOT NULL,
            stay          text,
            generation    bigint,
            first_seen_at timestamptz NOT NULL,
            last_seen_at  timestamptz NOT NULL,
            openings      bigint NOT NULL DEFAULT 0,
            PRIMARY KEY (property, id)
        );
        CREATE TABLE access.lock (
            property      text NOT NULL,
            door          text NOT NULL,
            tenant        text NOT NULL,
            battery       double precision,
            battery_at    timestamptz,
            last_event    text NOT NULL,
            last_reason   text,
            last_at       timestamptz NOT NULL,
            PRIMARY KEY (property, door)
        );
    """)


def downgrade() -> None:
    """Drop schema `access`."""
    op.execute("DROP SCHEMA access CASCADE")
