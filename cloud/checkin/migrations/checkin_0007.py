"""Letters to guests: each kind once a stay, however often it is decided; how many an hour a tenant may send."""

from alembic import op

revision = "checkin_0007"
down_revision = "checkin_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A letter is `waiting` while what it tells of is not so yet, `overtaken` once there is nothing to tell any more.

    Neither whom it goes to nor its link stands here. `answer` is a number of the mail server's, never its text.
    """
    op.execute("""
        CREATE TABLE checkin.letter (
            id         text PRIMARY KEY,
            tenant     text NOT NULL,
            property   text NOT NULL,
            stay       text NOT NULL,
            kind       text NOT NULL CHECK (kind IN ('invitation', 'room_ready')),
            state      text NOT NULL CHECK (state IN ('waiting', 'due', 'sending', 'sent', 'not_possible', 'given_up',
                                                      'overtaken')),
            tries      integer NOT NULL DEFAULT 0,
            not_before timestamptz NOT NULL,
            reason     text,
            answer     text,
            decided_at timestamptz NOT NULL,
            tried_at   timestamptz,
            ended_at   timestamptz,
            UNIQUE (property, stay, kind)
        );
        CREATE INDEX letter_due ON checkin.letter (not_before) WHERE state IN ('due', 'sending');
        CREATE INDEX letter_waiting ON checkin.letter (not_before) WHERE state = 'waiting';
        CREATE INDEX letter_tried ON checkin.letter (tenant, tried_at) WHERE tried_at IS NOT NULL;
        CREATE TABLE checkin.letter_rate (
            tenant   text PRIMARY KEY,
            per_hour integer NOT NULL CHECK (per_hour BETWEEN 0 AND 1000000)
        );
        COMMENT ON TABLE checkin.letter_rate IS 'Letters that a tenant may send within an hour, where it is not 300.';
    """)


def downgrade() -> None:
    """Forget who was written to."""
    op.execute("DROP TABLE checkin.letter_rate; DROP TABLE checkin.letter")
