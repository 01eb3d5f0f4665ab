"""Check-ins asked for from afar, and departures that the edge must still be told."""

from alembic import op

revision = "checkin_0001"
down_revision = None
branch_labels = ("checkin",)
depends_on = None


def upgrade() -> None:
    """Create schema `checkin`."""
    op.execute("""
        CREATE SCHEMA checkin;
        CREATE TABLE checkin.session (
            id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant          text NOT NULL,
            property        text NOT NULL,
            stay            text NOT NULL,
            channel         text NOT NULL CHECK (channel IN ('remote')),
            idempotency_key text NOT NULL,
            phone_key_hash  bytea NOT NULL,
            asked_by        text NOT NULL,
            command         text,
            state           text NOT NULL CHECK (state IN ('initiated', 'completed', 'refused', 'unknown')),
            reason          text,
            began_at        timestamptz NOT NULL,
            ended_at        timestamptz,
            UNIQUE (property, idempotency_key)
        );
        CREATE INDEX session_of_stay ON checkin.session (property, stay, id DESC);
        CREATE TABLE checkin.departure (
            property    text NOT NULL,
            stay        text NOT NULL,
            event       bigint NOT NULL,
            tenant      text NOT NULL,
            edge        text NOT NULL,
            by          text NOT NULL,
            state       text NOT NULL CHECK (state IN ('pending', 'done', 'overtaken')),
            tries       integer NOT NULL DEFAULT 0,
            keys_used   integer NOT NULL DEFAULT 0,
            not_before  timestamptz NOT NULL,
            last_error  text,
            created_at  timestamptz NOT NULL,
            ended_at    timestamptz,
            PRIMARY KEY (property, stay, event)
        );
        CREATE INDEX departure_pending ON checkin.departure (not_before) WHERE state = 'pending';
    """)


def downgrade() -> None:
    """Drop schema `checkin`."""
    op.execute("DROP SCHEMA checkin CASCADE")
