"""What a PMS says that we cannot take, item by item, until it says it well."""

from alembic import op

revision = "pms_0002"
down_revision = "pms_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create `pms.issue`."""
    op.execute("""
        CREATE TABLE pms.issue (
            property    text NOT NULL,
            system      text NOT NULL,
            kind        text NOT NULL CHECK (kind IN ('reservation', 'resource', 'customer')),
            external_id text NOT NULL,
            problem     text NOT NULL,
            held_back   boolean NOT NULL,
            times       bigint NOT NULL DEFAULT 1,
            first_at    timestamptz NOT NULL,
            last_at     timestamptz NOT NULL,
            PRIMARY KEY (property, system, kind, external_id)
        )
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE pms.issue")
