"""Latest values tell when they changed and how often; partitions of the ledger that were proved keep the proof."""

from alembic import op

revision = "telemetry_0003"
down_revision = "telemetry_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add to `latest` what live streams go by, and `proof`.

    `changed` is the transaction that wrote a row last: whoever read everything below the oldest transaction of a
    snapshot misses nothing by reading on from there, which no time and no sequence can promise while writers overlap.
    A trigger keeps it, so that it holds whoever writes.
    """
    op.execute("""
        ALTER TABLE telemetry.latest
            ADD COLUMN changed bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
            ADD COLUMN writes bigint NOT NULL DEFAULT 1;
        CREATE INDEX latest_changed ON telemetry.latest (property, changed);
        CREATE FUNCTION telemetry.latest_changes() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.changed := pg_current_xact_id()::text::bigint;
            NEW.writes := OLD.writes + 1;
            RETURN NEW;
        END $$;
        CREATE TRIGGER latest_changes BEFORE UPDATE ON telemetry.latest
            FOR EACH ROW EXECUTE FUNCTION telemetry.latest_changes();
        CREATE TABLE telemetry.proof (
            edge        text NOT NULL,
            incarnation bytea NOT NULL,
            lane        text NOT NULL,
            day         date NOT NULL,
            runs        jsonb NOT NULL,
            records     bigint NOT NULL,
            proved_at   timestamptz NOT NULL,
            PRIMARY KEY (edge, incarnation, lane, day)
        );
        COMMENT ON TABLE telemetry.proof IS
            'What a day of the ledger that is over holds of a stream: runs [first, last, first id, last id] in order.';
    """)


def downgrade() -> None:
    """Take it away again."""
    op.execute("""
        DROP TABLE telemetry.proof;
        DROP TRIGGER latest_changes ON telemetry.latest;
        DROP FUNCTION telemetry.latest_changes;
        ALTER TABLE telemetry.latest DROP COLUMN changed, DROP COLUMN writes;
    """)
