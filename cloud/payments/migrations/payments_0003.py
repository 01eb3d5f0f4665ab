"""Captures, releases and refunds as the house asked for them: one at a time for a payment, each under its key."""

from alembic import op

revision = "payments_0003"
down_revision = "payments_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What was asked of a payment is known before the provider hears of it."""
    op.execute("""
        CREATE TABLE payments.movement (
            id              text PRIMARY KEY,
            tenant          text NOT NULL,
            property        text NOT NULL,
            payment         text NOT NULL REFERENCES payments.payment,
            verb            text NOT NULL CHECK (verb IN ('capture', 'release', 'refund')),
            minor           bigint NOT NULL CHECK (minor > 0),
            idempotency_key text NOT NULL,
            state           text NOT NULL CHECK (state IN ('asked', 'unknown', 'done', 'refused')),
            failure         text,
            reason          text,
            refunded_before bigint NOT NULL,
            tries           integer NOT NULL DEFAULT 1,
            asked_by        text NOT NULL,
            asked_at        timestamptz NOT NULL,
            updated_at      timestamptz NOT NULL,
            looked_at       timestamptz,
            UNIQUE (payment, verb, idempotency_key)
        );
        COMMENT ON COLUMN payments.movement.refunded_before IS 'Tells a refund that was done from one that was not.';
        CREATE UNIQUE INDEX movement_under_way ON payments.movement (payment) WHERE state IN ('asked', 'unknown');
        CREATE INDEX movement_unsettled ON payments.movement (updated_at) WHERE state IN ('asked', 'unknown');
    """)


def downgrade() -> None:
    """Forget what was asked; payments stay as the provider has them."""
    op.execute("DROP TABLE payments.movement")
