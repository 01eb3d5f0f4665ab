"""Payments: what was asked of a provider, and what it said."""

from alembic import op

revision = "payments_0001"
down_revision = None
branch_labels = ("payments",)
depends_on = None


def upgrade() -> None:
    """Create schema `payments`."""
    op.execute("""
        CREATE SCHEMA payments;
        CREATE TABLE payments.payment (
            id              text PRIMARY KEY,
            tenant          text NOT NULL,
            property        text NOT NULL,
            stay            text NOT NULL,
            purpose         text NOT NULL,
            idempotency_key text NOT NULL,
            currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            minor           bigint NOT NULL CHECK (minor > 0),
            method          text NOT NULL,
            state           text NOT NULL CHECK (state IN
                ('asked', 'needs_guest', 'pending', 'held', 'captured', 'released', 'failed')),
            captured        bigint NOT NULL DEFAULT 0 CHECK (captured BETWEEN 0 AND minor),
            refunded        bigint NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND captured),
            provider_id     text,
            failure         text,
            asked_by        text NOT NULL,
            asked_at        timestamptz NOT NULL,
            updated_at      timestamptz NOT NULL,
            UNIQUE (property, idempotency_key)
        );
        CREATE UNIQUE INDEX payment_of_provider ON payments.payment (property, provider_id)
            WHERE provider_id IS NOT NULL;
        CREATE INDEX payment_of_purpose ON payments.payment (property, purpose);
        CREATE INDEX payment_of_stay ON payments.payment (property, stay);
        CREATE INDEX payment_unsettled ON payments.payment (updated_at)
            WHERE state IN ('asked', 'needs_guest', 'pending');
    """)


def downgrade() -> None:
    """Drop schema `payments`."""
    op.execute("DROP SCHEMA payments CASCADE")
