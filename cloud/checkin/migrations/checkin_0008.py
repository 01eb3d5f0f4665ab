"""What guests asked for of the end of their stays, and what they were answered."""

from alembic import op

revision = "checkin_0008"
down_revision = "checkin_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of a stay one wish is open at most. That nobody answered in time is read off the end of the stay."""
    op.execute("""
        CREATE TABLE checkin.late_wish (
            id         text PRIMARY KEY,
            n          bigint GENERATED ALWAYS AS IDENTITY,
            tenant     text NOT NULL,
            property   text NOT NULL,
            stay       text NOT NULL,
            until      timestamptz NOT NULL,
            state      text NOT NULL CHECK (state IN ('asked', 'granted', 'refused', 'withdrawn',
                                                      'overtaken')),
            reason     text,
            policy_version bigint NOT NULL,
            asked_by   text NOT NULL,
            asked_at   timestamptz NOT NULL,
            decided_by text,
            decided_at timestamptz,
            CHECK ((state = 'asked') = (decided_at IS NULL))
        );
        CREATE UNIQUE INDEX late_wish_open ON checkin.late_wish (property, stay) WHERE state = 'asked';
        CREATE INDEX late_wish_stay ON checkin.late_wish (property, stay, n);
    """)


def downgrade() -> None:
    """Forget what was asked; what was granted stands with the stay."""
    op.execute("DROP TABLE checkin.late_wish")
