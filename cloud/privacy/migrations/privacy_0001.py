"""The data keys of tenants, each wrapped by a key that is not in the database."""

from alembic import op

revision = "privacy_0001"
down_revision = None
branch_labels = ("privacy",)
depends_on = None


def upgrade() -> None:
    """Create schema `privacy`."""
    op.execute("""
        CREATE SCHEMA privacy;
        CREATE TABLE privacy.data_key (
            tenant     text NOT NULL,
            number     integer NOT NULL CHECK (number > 0),
            wrapped    bytea NOT NULL,
            wrapped_by text NOT NULL,
            made_at    timestamptz NOT NULL,
            retired_at timestamptz,
            PRIMARY KEY (tenant, number)
        );
        CREATE UNIQUE INDEX one_key_in_use_a_tenant ON privacy.data_key (tenant) WHERE retired_at IS NULL;
    """)


def downgrade() -> None:
    """Drop schema `privacy`."""
    op.execute("DROP SCHEMA privacy CASCADE")
