"""Commands that are settled are found by when they were."""

from alembic import op

revision = "fleet_0003"
down_revision = "fleet_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index them."""
    op.execute(
        "CREATE INDEX command_settled ON fleet.command (updated_at) WHERE phase IN ('done', 'failed', 'expired')"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX fleet.command_settled")
