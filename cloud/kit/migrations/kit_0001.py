"""The outbox: events of every module, written with the change they tell of."""

from alembic import op

revision = "kit_0001"
down_revision = None
branch_labels = ("kit",)
depends_on = None


def upgrade() -> None:
    """Create schema `outbox`."""
    op.execute("""
        CREATE SCHEMA outbox;
        CREATE TABLE outbox.event (
            id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            type        text NOT NULL,
            tenant      text NOT NULL,
            property    text NOT NULL,
            subject     text NOT NULL,
            body        jsonb NOT NULL,
            occurred_at timestamptz NOT NULL,
            attempts    integer NOT NULL DEFAULT 0,
            not_before  timestamptz NOT NULL,
            last_error  text,
            relayed_at  timestamptz,
            parked_at   timestamptz
        );
        CREATE INDEX event_waiting ON outbox.event (property, subject, id)
            WHERE relayed_at IS NULL AND parked_at IS NULL;
        CREATE INDEX event_relayed ON outbox.event (relayed_at) WHERE relayed_at IS NOT NULL;
    """)


def downgrade() -> None:
    """Drop schema `outbox`."""
    op.execute("DROP SCHEMA outbox CASCADE")
