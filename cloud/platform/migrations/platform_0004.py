"""How often callers may ask, as data."""

from alembic import op

revision = "platform_0004"
down_revision = "platform_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create `rate_rule`: the most particular row decides, `caller` before tenant before the service's own default."""
    op.execute("""
        CREATE TABLE platform.rate_rule (
            tenant     text NOT NULL REFERENCES platform.tenant,
            caller     text NOT NULL DEFAULT '',
            kind       text NOT NULL CHECK (kind IN ('read', 'write')),
            per_minute integer NOT NULL CHECK (per_minute BETWEEN 1 AND 1000000),
            burst      integer NOT NULL CHECK (burst BETWEEN 1 AND 1000000),
            PRIMARY KEY (tenant, caller, kind)
        );
        COMMENT ON COLUMN platform.rate_rule.caller IS 'Name of a token, client or account; empty: each of the tenant.';
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE platform.rate_rule")
