"""Connections' cursors, hints, runs, and our wishes to change the PMS."""

from alembic import op

revision = "pms_0001"
down_revision = None
branch_labels = ("pms",)
depends_on = None


def upgrade() -> None:
    """Create schema `pms`."""
    op.execute("""
        CREATE SCHEMA pms;
        CREATE TABLE pms.connection (
            property        text NOT NULL,
            system          text NOT NULL,
            tenant          text NOT NULL,
            cursor_at       timestamptz,
            full_at         timestamptz,
            last_ok_at      timestamptz,
            last_error      text,
            last_error_at   timestamptz,
            PRIMARY KEY (property, system)
        );
        CREATE TABLE pms.hint (
            property    text NOT NULL,
            system      text NOT NULL,
            kind        text NOT NULL CHECK (kind IN ('reservation', 'resource')),
            external_id text NOT NULL,
            heard_at    timestamptz NOT NULL,
            times       integer NOT NULL DEFAULT 1,
            attempts    integer NOT NULL DEFAULT 0,
            not_before  timestamptz NOT NULL,
            PRIMARY KEY (property, system, kind, external_id)
        );
        CREATE TABLE pms.room_map (
            property    text NOT NULL,
            system      text NOT NULL,
            external_id text NOT NULL,
            name        text NOT NULL,
            room        text,
            updated_at  timestamptz NOT NULL,
            PRIMARY KEY (property, system, external_id)
        );
        CREATE TABLE pms.sync_run (
            id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            property    text NOT NULL,
            system      text NOT NULL,
            kind        text NOT NULL,
            began_at    timestamptz NOT NULL,
            ended_at    timestamptz NOT NULL,
            created     integer NOT NULL,
            updated     integer NOT NULL,
            unchanged   integer NOT NULL,
            errors      jsonb NOT NULL
        );
        CREATE INDEX sync_run_recent ON pms.sync_run (property, id DESC);
        CREATE TABLE pms.write_intent (
            id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            property       text NOT NULL,
            system         text NOT NULL,
            tenant         text NOT NULL,
            action         text NOT NULL CHECK (action IN ('check_in', 'check_out')),
            external_id    text NOT NULL,
            stay           text NOT NULL,
            cause_event    bigint NOT NULL,
            state          text NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'overtaken')),
            attempts       integer NOT NULL DEFAULT 0,
            not_before     timestamptz NOT NULL,
            sent           boolean NOT NULL DEFAULT false,
            looks          integer NOT NULL DEFAULT 0,
            last_read_back text,
            last_error     text,
            created_at     timestamptz NOT NULL,
            ended_at       timestamptz,
            UNIQUE (property, system, cause_event, action)
        );
        CREATE INDEX write_intent_pending ON pms.write_intent (property, system, external_id, id)
            WHERE state = 'pending';
    """)


def downgrade() -> None:
    """Drop schema `pms`."""
    op.execute("DROP SCHEMA pms CASCADE")
