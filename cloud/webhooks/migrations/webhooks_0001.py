"""Where tenants want their events, and what was sent."""

from alembic import op

revision = "webhooks_0001"
down_revision = None
branch_labels = ("webhooks",)
depends_on = None


def upgrade() -> None:
    """Create schema `webhooks`."""
    op.execute("""
        CREATE SCHEMA webhooks;
        CREATE TABLE webhooks.endpoint (
            id         text PRIMARY KEY,
            tenant     text NOT NULL,
            url        text NOT NULL,
            kinds      text[] NOT NULL CHECK (cardinality(kinds) > 0),
            secret     bytea NOT NULL,
            made_by    text NOT NULL,
            made_at    timestamptz NOT NULL,
            ended_at   timestamptz,
            ended_why  text
        );
        COMMENT ON COLUMN webhooks.endpoint.secret IS 'Sealed.';
        CREATE INDEX endpoint_of_tenant ON webhooks.endpoint (tenant) WHERE ended_at IS NULL;
        CREATE TABLE webhooks.delivery (
            endpoint    text NOT NULL REFERENCES webhooks.endpoint ON DELETE CASCADE,
            event       bigint NOT NULL,
            tenant      text NOT NULL,
            body        text NOT NULL,
            state       text NOT NULL CHECK (state IN ('waiting', 'sent', 'given_up')),
            tries       integer NOT NULL DEFAULT 0,
            not_before  timestamptz NOT NULL,
            last_answer text,
            made_at     timestamptz NOT NULL,
            ended_at    timestamptz,
            PRIMARY KEY (endpoint, event)
        );
        CREATE INDEX delivery_due ON webhooks.delivery (not_before) WHERE state = 'waiting';
    """)


def downgrade() -> None:
    """Drop schema `webhooks`."""
    op.execute("DROP SCHEMA webhooks CASCADE")
