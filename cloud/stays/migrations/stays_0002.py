"""Rooms given by us where the PMS has given none, and stays that share a room."""

from alembic import op

revision = "stays_0002"
down_revision = "stays_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One active stay a room, unless those in it share: the database holds to it, whatever the code believes."""
    op.execute("""
        ALTER TABLE stays.stay ADD COLUMN room_given text, ADD COLUMN share text;
        COMMENT ON COLUMN stays.stay.room_given IS 'Ours, where the PMS asks for no room; its wish goes first.';
        COMMENT ON COLUMN stays.stay.share IS 'Stays with one word here share their room.';
        ALTER TABLE stays.stay DROP CONSTRAINT one_active_stay_a_room;
        ALTER TABLE stays.stay ADD CONSTRAINT one_active_stay_a_room EXCLUDE USING gist (
            property WITH =, room WITH =, tstzrange(expected_from, expected_until) WITH &&,
            (coalesce('share ' || share, id)) WITH <>
        ) WHERE (state IN ('planned', 'ready', 'in_house') AND room IS NOT NULL);
        DROP INDEX stays.one_guest_in_house_a_room;
        ALTER TABLE stays.stay ADD CONSTRAINT one_party_in_house_a_room EXCLUDE USING gist (
            property WITH =, room WITH =, (coalesce('share ' || share, id)) WITH <>
        ) WHERE (state = 'in_house' AND room IS NOT NULL);
    """)


def downgrade() -> None:
    """One stay a room again; fails while stays share one."""
    op.execute("""
        ALTER TABLE stays.stay DROP CONSTRAINT one_active_stay_a_room, DROP CONSTRAINT one_party_in_house_a_room;
        ALTER TABLE stays.stay DROP COLUMN room_given, DROP COLUMN share;
        ALTER TABLE stays.stay ADD CONSTRAINT one_active_stay_a_room EXCLUDE USING gist (
            property WITH =, room WITH =, tstzrange(expected_from, expected_until) WITH &&
        ) WHERE (state IN ('planned', 'ready', 'in_house') AND room IS NOT NULL);
        CREATE UNIQUE INDEX one_guest_in_house_a_room ON stays.stay (property, room)
            WHERE state = 'in_house' AND room IS NOT NULL;
    """)
