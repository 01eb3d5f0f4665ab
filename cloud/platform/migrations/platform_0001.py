"""Tenants, properties as their site plans describe them, signed-in sessions."""

from alembic import op

revision = "platform_0001"
down_revision = None
branch_labels = ("platform",)
depends_on = None


def upgrade() -> None:
    """Create schema `platform`."""
    op.execute("""
        CREATE SCHEMA platform;
        CREATE TABLE platform.tenant (
            id         text PRIMARY KEY,
            created_at timestamptz NOT NULL
        );
        CREATE TABLE platform.property (
            id         text PRIMARY KEY,
            tenant     text NOT NULL REFERENCES platform.tenant,
            name       text NOT NULL,
            zone       text NOT NULL,
            edge       text NOT NULL UNIQUE,
            site_plan  jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL
        );
        CREATE INDEX property_tenant ON platform.property (tenant, id);
        CREATE TABLE platform.session (
            secret_hash  bytea PRIMARY KEY,
            token_name   text NOT NULL,
            token_sha256 bytea NOT NULL,
            tenant       text NOT NULL,
            created_at   timestamptz NOT NULL,
            expires_at   timestamptz NOT NULL
        );
        CREATE INDEX session_expires ON platform.session (expires_at);
    """)


def downgrade() -> None:
    """Drop schema `platform`."""
    op.execute("DROP SCHEMA platform CASCADE")
