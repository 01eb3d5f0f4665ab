"""Deliveries that are over are found by when they ended."""

from alembic import op

revision = "webhooks_0002"
down_revision = "webhooks_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index them."""
    op.execute("CREATE INDEX delivery_over ON webhooks.delivery (ended_at) WHERE state <> 'waiting'")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX webhooks.delivery_over")
