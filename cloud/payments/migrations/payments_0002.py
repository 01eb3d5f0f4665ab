"""Payments on the provider's own page: which page, asked for with what, and whether anybody still wants it."""

from alembic import op

revision = "payments_0002"
down_revision = "payments_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One page at a time for one purpose; who was looked at last comes last."""
    op.execute("""
        ALTER TABLE payments.payment
            ADD COLUMN page_id    text,
            ADD COLUMN page_asked jsonb,
            ADD COLUMN unwanted   boolean NOT NULL DEFAULT false,
            ADD COLUMN looked_at  timestamptz;
        COMMENT ON COLUMN payments.payment.page_asked IS 'What the page was asked for with; NULL: paid by token.';
        CREATE UNIQUE INDEX payment_page_open ON payments.payment (property, purpose)
            WHERE page_asked IS NOT NULL AND NOT unwanted AND state IN ('asked', 'needs_guest', 'pending');
        CREATE UNIQUE INDEX payment_of_page ON payments.payment (property, page_id) WHERE page_id IS NOT NULL;
        CREATE INDEX payment_unwanted ON payments.payment (property) WHERE unwanted AND state = 'held';
    """)


def downgrade() -> None:
    """Forget the pages; payments stay."""
    op.execute("""
        DROP INDEX payments.payment_page_open, payments.payment_of_page, payments.payment_unwanted;
        ALTER TABLE payments.payment DROP COLUMN page_id, DROP COLUMN page_asked,
            DROP COLUMN unwanted, DROP COLUMN looked_at;
    """)
