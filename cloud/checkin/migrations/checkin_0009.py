"""A letter is of one day of arrival: a stay that moves to another day is written to once more, for that day once."""

from alembic import op

revision = "checkin_0009"
down_revision = "checkin_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A letter of whatever day has the first there is: those of a room, and those that were written before.

    Such an invitation stands for every day, so that no guest who has one gets another by this change; what was not to
    be sent is decided anew.
    """
    op.execute("""
        DELETE FROM checkin.letter
         WHERE kind = 'invitation' AND (state = 'overtaken' OR (state = 'not_possible' AND reason = 'no_address'));
        ALTER TABLE checkin.letter ADD COLUMN arrives date NOT NULL DEFAULT '0001-01-01';
        ALTER TABLE checkin.letter DROP CONSTRAINT letter_property_stay_kind_key;
        ALTER TABLE checkin.letter ADD CONSTRAINT letter_once UNIQUE (property, stay, kind, arrives);
        CREATE INDEX letter_decided ON checkin.letter (decided_at);
    """)


def downgrade() -> None:
    """Keep one letter a stay and kind: one that went, if there is one."""
    op.execute("""
        DELETE FROM checkin.letter l USING checkin.letter o
         WHERE (o.property, o.stay, o.kind) = (l.property, l.stay, l.kind) AND o.id <> l.id
           AND (o.state = 'sent', o.decided_at, o.id) > (l.state = 'sent', l.decided_at, l.id);
        DROP INDEX checkin.letter_decided;
        ALTER TABLE checkin.letter DROP CONSTRAINT letter_once;
        ALTER TABLE checkin.letter DROP COLUMN arrives;
        ALTER TABLE checkin.letter ADD CONSTRAINT letter_property_stay_kind_key UNIQUE (property, stay, kind);
    """)
