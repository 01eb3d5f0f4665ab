"""The audit trail: one hash chain a tenant."""

from alembic import op

revision = "platform_0003"
down_revision = "platform_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the trail. `audit_head` is the last link, by whose lock the entries of a tenant take turns."""
    op.execute("""
        CREATE TABLE platform.audit (
            tenant   text NOT NULL,
            seq      bigint NOT NULL CHECK (seq > 0),
            at       timestamptz NOT NULL,
            actor    text NOT NULL,
            action   text NOT NULL,
            property text NOT NULL DEFAULT '',
            subject  text NOT NULL,
            outcome  text NOT NULL,
            detail   text NOT NULL DEFAULT '',
            hash     bytea NOT NULL,
            PRIMARY KEY (tenant, seq)
        );
        COMMENT ON COLUMN platform.audit.hash IS 'SHA-256 over the hash before and this entry; of the first: 32 zeros.';
        CREATE TABLE platform.audit_head (
            tenant text PRIMARY KEY,
            seq    bigint NOT NULL,
            hash   bytea NOT NULL
        );
    """)


def downgrade() -> None:
    """Drop the trail."""
    op.execute("DROP TABLE platform.audit, platform.audit_head")
