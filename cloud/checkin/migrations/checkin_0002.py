"""Check-in sessions: who comes, what was done, by whom; and the links that let one guest in to one of them."""

from alembic import op

revision = "checkin_0002"
down_revision = "checkin_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What was called a session is a request for keys; a session is the guest's whole way to them."""
    op.execute("""
        ALTER TABLE checkin.session RENAME TO key_request;
        ALTER INDEX checkin.session_of_stay RENAME TO key_request_of_stay;
        CREATE TABLE checkin.session (
            id             text PRIMARY KEY,
            tenant         text NOT NULL,
            property       text NOT NULL,
            stays          text[] NOT NULL CHECK (cardinality(stays) BETWEEN 1 AND 20),
            party          integer NOT NULL CHECK (party BETWEEN 1 AND 20),
            policy_version bigint NOT NULL,
            policy         text NOT NULL,
            state          text NOT NULL CHECK (state IN ('open', 'completed', 'expired')),
            channel        text NOT NULL CHECK (channel IN ('web', 'kiosk', 'desk')),
            language       text NOT NULL,
            began_by       text NOT NULL,
            began_at       timestamptz NOT NULL,
            used_at        timestamptz NOT NULL,
            expires_at     timestamptz NOT NULL,
            ended_at       timestamptz,
            help_asked_at  timestamptz,
            help_reason    text,
            subject_key    bytea,
            keep_until     timestamptz NOT NULL
        );
        COMMENT ON COLUMN checkin.session.subject_key IS 'Sealed; NULL: nothing personal, or forgotten.';
        CREATE INDEX session_of_stays ON checkin.session USING gin (stays) WHERE state = 'open';
        CREATE INDEX session_of_property ON checkin.session (property, began_at DESC);
        CREATE INDEX session_to_forget ON checkin.session (keep_until) WHERE subject_key IS NOT NULL;
        CREATE TABLE checkin.guest (
            session  text NOT NULL REFERENCES checkin.session ON DELETE CASCADE,
            slot     text NOT NULL CHECK (slot ~ '^g([1-9]|1[0-9]|20)$'),
            tenant   text NOT NULL,
            property text NOT NULL,
            sealed   bytea NOT NULL,
            document bytea,
            PRIMARY KEY (session, slot)
        );
        CREATE TABLE checkin.step (
            session  text NOT NULL REFERENCES checkin.session ON DELETE CASCADE,
            kind     text NOT NULL,
            subject  text NOT NULL,
            tenant   text NOT NULL,
            property text NOT NULL,
            state    text NOT NULL CHECK (state IN ('done', 'waived', 'needs_staff')),
            actor    text NOT NULL,
            channel  text NOT NULL,
            at       timestamptz NOT NULL,
            evidence jsonb NOT NULL,
            reason   text,
            PRIMARY KEY (session, kind, subject)
        );
        CREATE TABLE checkin.guest_link (
            sha256     bytea PRIMARY KEY,
            tenant     text NOT NULL,
            property   text NOT NULL,
            stay       text NOT NULL,
            made_by    text NOT NULL,
            made_at    timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            phone_hash bytea,
            used_at    timestamptz,
            ended_at   timestamptz
        );
        CREATE INDEX guest_link_of_stay ON checkin.guest_link (property, stay);
    """)


def downgrade() -> None:
    """Drop the sessions; requests for keys get their old name back."""
    op.execute("""
        DROP TABLE checkin.guest_link, checkin.step, checkin.guest, checkin.session;
        ALTER INDEX checkin.key_request_of_stay RENAME TO session_of_stay;
        ALTER TABLE checkin.key_request RENAME TO session;
    """)
