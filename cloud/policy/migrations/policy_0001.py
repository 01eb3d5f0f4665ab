"""Releases of policies, and what each property holds or shall hold."""

from alembic import op

revision = "policy_0001"
down_revision = None
branch_labels = ("policy",)
depends_on = None


def upgrade() -> None:
    """Create schema `policy`."""
    op.execute("""
        CREATE SCHEMA policy;
        CREATE TABLE policy.release (
            id         text PRIMARY KEY,
            tenant     text NOT NULL,
            kind       text NOT NULL,
            body       text NOT NULL,
            rings      jsonb NOT NULL,
            soak_ms    bigint NOT NULL CHECK (soak_ms >= 0),
            state      text NOT NULL CHECK (state IN ('rolling', 'done', 'rolled_back')),
            ring       integer NOT NULL DEFAULT 0,
            ring_at    timestamptz NOT NULL,
            reason     text,
            made_by    text NOT NULL,
            made_at    timestamptz NOT NULL,
            ended_at   timestamptz
        );
        CREATE UNIQUE INDEX one_release_rolling_a_kind ON policy.release (tenant, kind) WHERE state = 'rolling';
        CREATE TABLE policy.wanted (
            property     text NOT NULL,
            kind         text NOT NULL,
            tenant       text NOT NULL,
            edge         text NOT NULL,
            version      bigint NOT NULL CHECK (version > 0),
            body         text NOT NULL,
            signed       bytea NOT NULL,
            release      text,
            wanted_at    timestamptz NOT NULL,
            published_at timestamptz,
            verdict      text CHECK (verdict IN ('applied', 'refused', 'unhealthy')),
            verdict_at   timestamptz,
            detail       text,
            good_body    text,
            PRIMARY KEY (property, kind)
        );
        COMMENT ON COLUMN policy.wanted.good_body IS 'The last body that the edge applied and that held; NULL: none.';
        CREATE INDEX wanted_release ON policy.wanted (release);
    """)


def downgrade() -> None:
    """Drop schema `policy`."""
    op.execute("DROP SCHEMA policy CASCADE")
