"""What somebody should look at: one row an alert, from the edge's records."""

from alembic import op

revision = "alerts_0001"
down_revision = None
branch_labels = ("alerts",)
depends_on = None


def upgrade() -> None:
    """Create schema `alerts`. A room or device that an alert has none of is the empty text, so that keys compare."""
    op.execute("""
        CREATE SCHEMA alerts;
        CREATE TABLE alerts.alert (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant       text NOT NULL,
            property     text NOT NULL,
            edge         text NOT NULL,
            kind         text NOT NULL,
            room         text NOT NULL,
            device       text NOT NULL,
            number       bigint NOT NULL,
            raised_at    timestamptz NOT NULL,
            cleared_at   timestamptz,
            detail       text NOT NULL,
            received_at  timestamptz NOT NULL,
            ended_at     timestamptz,
            state        text NOT NULL CHECK (state IN ('raised', 'cleared', 'lapsed')),
            CHECK ((state = 'raised') = (ended_at IS NULL)),
            CHECK (state <> 'cleared' OR cleared_at IS NOT NULL),
            UNIQUE (property, edge, kind, room, device, raised_at)
        );
        CREATE UNIQUE INDEX alert_standing ON alerts.alert (property, edge, kind, room, device)
            WHERE state = 'raised';
        CREATE INDEX alert_newest ON alerts.alert (property, id DESC);
    """)


def downgrade() -> None:
    """Drop schema `alerts`."""
    op.execute("DROP SCHEMA alerts CASCADE")
