"""Other ways to sign in than a password: passkeys, a company's own provider, and a code for whoever lost everything."""

from alembic import op

revision = "platform_0005"
down_revision = "platform_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. Of challenges, states and codes only digests are kept."""
    op.execute("""
        ALTER TABLE platform.sign_in ADD COLUMN means text NOT NULL DEFAULT 'password';
        COMMENT ON COLUMN platform.sign_in.means IS 'password, or passkey:<id>, or company:<name of the provider>.';
        CREATE TABLE platform.passkey (
            id           text PRIMARY KEY,
            tenant       text NOT NULL REFERENCES platform.tenant,
            account      text NOT NULL REFERENCES platform.account ON DELETE CASCADE,
            credential   bytea NOT NULL UNIQUE,
            public_key   bytea NOT NULL,
            sign_count   bigint NOT NULL,
            name         text NOT NULL,
            synced       boolean NOT NULL,
            created_at   timestamptz NOT NULL,
            used_at      timestamptz,
            suspended_at timestamptz
        );
        COMMENT ON COLUMN platform.passkey.sign_count IS 'What its authenticator counted last; 0: it does not count.';
        COMMENT ON COLUMN platform.passkey.suspended_at IS 'Its count ran back: two authenticators hold its key.';
        CREATE INDEX passkey_account ON platform.passkey (account, created_at);
        CREATE TABLE platform.challenge (
            sha256     bytea PRIMARY KEY,
            account    text REFERENCES platform.account ON DELETE CASCADE,
            expires_at timestamptz NOT NULL
        );
        COMMENT ON COLUMN platform.challenge.account IS 'Who adds a passkey; NULL: somebody signs in.';
        CREATE INDEX challenge_expires ON platform.challenge (expires_at);
        CREATE TABLE platform.recovery (
            account    text PRIMARY KEY REFERENCES platform.account ON DELETE CASCADE,
            sha256     bytea NOT NULL UNIQUE,
            made_by    text NOT NULL,
            expires_at timestamptz NOT NULL
        );
        CREATE TABLE platform.company (
            id            text PRIMARY KEY,
            tenant        text NOT NULL REFERENCES platform.tenant,
            issuer        text NOT NULL,
            client_id     text NOT NULL,
            client_secret bytea,
            domains       text[] NOT NULL,
            link_by_email boolean NOT NULL,
            created_by    text NOT NULL,
            created_at    timestamptz NOT NULL
        );
        COMMENT ON COLUMN platform.company.client_secret IS 'Sealed; NULL: a public client, PKCE alone.';
        CREATE INDEX company_tenant ON platform.company (tenant, id);
        CREATE TABLE platform.company_identity (
            company   text NOT NULL REFERENCES platform.company ON DELETE CASCADE,
            subject   text NOT NULL,
            tenant    text NOT NULL REFERENCES platform.tenant,
            account   text NOT NULL REFERENCES platform.account ON DELETE CASCADE,
            linked_at timestamptz NOT NULL,
            used_at   timestamptz NOT NULL,
            PRIMARY KEY (company, subject),
            UNIQUE (company, account)
        );
        CREATE TABLE platform.company_attempt (
            state_sha256   bytea PRIMARY KEY,
            browser_sha256 bytea NOT NULL,
            company        text NOT NULL REFERENCES platform.company ON DELETE CASCADE,
            account        text REFERENCES platform.account ON DELETE CASCADE,
            nonce          text NOT NULL,
            verifier       text NOT NULL,
            return_to      text NOT NULL,
            expires_at     timestamptz NOT NULL
        );
        COMMENT ON COLUMN platform.company_attempt.account IS 'Who links an identity to this account; NULL: a sign-in.';
        CREATE INDEX company_attempt_expires ON platform.company_attempt (expires_at);
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("""
        DROP TABLE platform.company_attempt, platform.company_identity, platform.company, platform.recovery,
                   platform.challenge, platform.passkey;
        ALTER TABLE platform.sign_in DROP COLUMN means
    """)
