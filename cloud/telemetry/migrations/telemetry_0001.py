"""Streams, records, latest values, and what was refused."""

from alembic import op

revision = "telemetry_0001"
down_revision = None
branch_labels = ("telemetry",)
depends_on = None


def upgrade() -> None:
    """Create schema `telemetry`.

    Records are partitioned by the day they arrived, because a building's clock may say anything. A unique key over
    (edge, incarnation, lane, seq) cannot exist on such a table; the mark in `stream`, moved in the same transaction,
    is what     keeps a record from being stored twice.
    """
    op.execute("""
        CREATE SCHEMA telemetry;
        CREATE TABLE telemetry.edge (
            id            text PRIMARY KEY,
            tenant        text NOT NULL,
            property      text NOT NULL,
            incarnation   bytea,
            last_heard_at timestamptz NOT NULL,
            last_hello_at timestamptz,
            last_ack_at   timestamptz,
            live_at       timestamptz,
            backlog       jsonb
        );
        CREATE INDEX edge_of_property ON telemetry.edge (property);
        CREATE TABLE telemetry.stream (
            edge         text NOT NULL,
            incarnation  bytea NOT NULL,
            lane         text NOT NULL CHECK (lane IN ('A', 'B', 'C')),
            ordinal      bigint GENERATED ALWAYS AS IDENTITY,
            tenant       text NOT NULL,
            property     text NOT NULL,
            hi           bigint NOT NULL DEFAULT 0,
            chain        bytea,
            openings     bytea[] NOT NULL DEFAULT '{}',
            batches      bigint NOT NULL DEFAULT 0,
            duplicates   bigint NOT NULL DEFAULT 0,
            gap_answers  bigint NOT NULL DEFAULT 0,
            chain_breaks bigint NOT NULL DEFAULT 0,
            began_at     timestamptz NOT NULL,
            moved_at     timestamptz NOT NULL,
            PRIMARY KEY (edge, incarnation, lane)
        );
        CREATE INDEX stream_of_property ON telemetry.stream (property);
        CREATE SEQUENCE telemetry.record_id;
        CREATE TABLE telemetry.record (
            id           bigint NOT NULL DEFAULT nextval('telemetry.record_id'),
            tenant       text NOT NULL,
            property     text NOT NULL,
            edge         text NOT NULL,
            incarnation  bytea NOT NULL,
            lane         text NOT NULL,
            seq          bigint NOT NULL,
            kind         text NOT NULL,
            body         jsonb NOT NULL,
            device_at_ms bigint,
            edge_at_ms   bigint NOT NULL,
            mono_ms      bigint NOT NULL,
            clock        text NOT NULL,
            received_at  timestamptz NOT NULL
        ) PARTITION BY RANGE (received_at);
        CREATE INDEX record_of_stream ON telemetry.record (edge, incarnation, lane, seq);
        CREATE TABLE telemetry.hole (
            edge        text NOT NULL,
            incarnation bytea NOT NULL,
            lane        text NOT NULL,
            first       bigint NOT NULL,
            last        bigint NOT NULL,
            reason      text NOT NULL,
            told_at     timestamptz NOT NULL,
            PRIMARY KEY (edge, incarnation, lane, first)
        );
        CREATE TABLE telemetry.refused (
            id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            edge        text NOT NULL,
            incarnation bytea,
            lane        text,
            first       bigint,
            last        bigint,
            error       text NOT NULL,
            detail      text NOT NULL,
            payload     bytea,
            at          timestamptz NOT NULL
        );
        CREATE INDEX refused_of_edge ON telemetry.refused (edge, id DESC);
        CREATE TABLE telemetry.latest (
            property    text NOT NULL,
            device      text NOT NULL,
            capability  text NOT NULL,
            attribute   text NOT NULL,
            tenant      text NOT NULL,
            room        text,
            value       jsonb,
            unit        text,
            quality     text NOT NULL,
            at          timestamptz NOT NULL,
            source      text NOT NULL CHECK (source IN ('live', 'backlog')),
            lane        text,
            ordinal     bigint,
            seq         bigint,
            received_at timestamptz NOT NULL,
            PRIMARY KEY (property, device, capability, attribute)
        );
    """)


def downgrade() -> None:
    """Drop schema `telemetry`."""
    op.execute("DROP SCHEMA telemetry CASCADE")
