"""Whose each reservation is, by the PMS's own ids: some tell of a guest's change and not whom of ours it concerns."""

from alembic import op

revision = "pms_0006"
down_revision = "pms_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create `pms.guest_of`; it fills as reservations are read."""
    op.execute("""
        CREATE TABLE pms.guest_of (
            property    text NOT NULL,
            system      text NOT NULL,
            external_id text NOT NULL,
            guest       text NOT NULL,
            read_at     timestamptz NOT NULL,
            PRIMARY KEY (property, system, external_id)
        );
        CREATE INDEX guest_of_guest ON pms.guest_of (property, system, guest);
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE pms.guest_of")
