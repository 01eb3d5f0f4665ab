"""Emergency keys: what was drafted, and who approved it."""

from alembic import op

revision = "access_0003"
down_revision = "access_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add drafts and approvals."""
    op.execute("""
        CREATE TABLE access.emergency_draft (
            property   text NOT NULL,
            grant_id   text NOT NULL,
            tenant     text NOT NULL,
            person     text NOT NULL,
            reason     text NOT NULL,
            doors      text[] NOT NULL,
            statement  text NOT NULL,
            officers   text[] NOT NULL,
            drafted_by text NOT NULL,
            drafted_at timestamptz NOT NULL,
            until_at   timestamptz NOT NULL,
            issued_at  timestamptz,
            PRIMARY KEY (property, grant_id)
        );
        CREATE TABLE access.emergency_approval (
            property  text NOT NULL,
            grant_id  text NOT NULL,
            tenant    text NOT NULL,
            by        text NOT NULL,
            officer   text NOT NULL,
            signature text NOT NULL,
            at        timestamptz NOT NULL,
            PRIMARY KEY (property, grant_id, by),
            UNIQUE (property, grant_id, officer),
            FOREIGN KEY (property, grant_id) REFERENCES access.emergency_draft (property, grant_id)
        );
    """)


def downgrade() -> None:
    """Forget them."""
    op.execute("DROP TABLE access.emergency_approval, access.emergency_draft")
