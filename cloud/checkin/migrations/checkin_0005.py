"""Kiosks: screens of the house at which a guest may go on with his check-in, and visits there, which end."""

from alembic import op

revision = "checkin_0005"
down_revision = "checkin_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A visit at a kiosk is a guest's link that names its kiosk, and ends at its time."""
    op.execute("""
        CREATE TABLE checkin.kiosk (
            id       text PRIMARY KEY,
            tenant   text NOT NULL,
            property text NOT NULL,
            name     text NOT NULL,
            sha256   bytea NOT NULL UNIQUE CHECK (length(sha256) = 32),
            made_by  text NOT NULL,
            made_at  timestamptz NOT NULL,
            ended_at timestamptz
        );
        CREATE INDEX kiosk_of_property ON checkin.kiosk (property);
        ALTER TABLE checkin.guest_link ADD COLUMN kiosk text REFERENCES checkin.kiosk;
        CREATE INDEX guest_link_of_kiosk ON checkin.guest_link (kiosk) WHERE kiosk IS NOT NULL;
    """)


def downgrade() -> None:
    """Drop the kiosks and the visits there."""
    op.execute("""
        ALTER TABLE checkin.guest_link NO FORCE ROW LEVEL SECURITY;
        DELETE FROM checkin.guest_link WHERE kiosk IS NOT NULL;
        ALTER TABLE checkin.guest_link DROP COLUMN kiosk;
        DROP TABLE checkin.kiosk;
    """)
