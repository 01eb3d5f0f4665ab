"""Edges, what was last heard of them, and the commands sent to them."""

from alembic import op

revision = "fleet_0001"
down_revision = None
branch_labels = ("fleet",)
depends_on = None


def upgrade() -> None:
    """Create schema `fleet`."""
    op.execute("""
        CREATE SCHEMA fleet;
        CREATE TABLE fleet.edge (
            id         text PRIMARY KEY,
            tenant     text NOT NULL,
            property   text NOT NULL UNIQUE,
            created_at timestamptz NOT NULL
        );
        CREATE TABLE fleet.command (
            id              text PRIMARY KEY,
            tenant          text NOT NULL,
            property        text NOT NULL,
            edge            text NOT NULL,
            kind            text NOT NULL,
            args            jsonb NOT NULL,
            idempotency_key text NOT NULL,
            asked_by        text NOT NULL,
            phase           text NOT NULL CHECK (phase IN
                ('accepted', 'executing', 'unknown', 'done', 'failed', 'expired')),
            result          jsonb,
            reason          text,
            deadline_at     timestamptz NOT NULL,
            created_at      timestamptz NOT NULL,
            updated_at      timestamptz NOT NULL,
            UNIQUE (property, idempotency_key)
        );
        CREATE INDEX command_recent ON fleet.command (property, created_at DESC);
    """)


def downgrade() -> None:
    """Drop schema `fleet`."""
    op.execute("DROP SCHEMA fleet CASCADE")
