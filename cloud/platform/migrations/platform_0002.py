"""Accounts of people, clients of the API, who is signed in, and how often somebody tried."""

from alembic import op

revision = "platform_0002"
down_revision = "platform_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of signing in. Of tokens and secrets only digests are kept, of passwords Argon2id."""
    op.execute("""
        CREATE TABLE platform.account (
            id          text PRIMARY KEY,
            tenant      text NOT NULL REFERENCES platform.tenant,
            email       text NOT NULL UNIQUE CHECK (email = lower(email)),
            name        text NOT NULL,
            role        text NOT NULL CHECK (role IN ('viewer', 'staff', 'admin')),
            properties  text[],
            created_by  text NOT NULL,
            created_at  timestamptz NOT NULL,
            disabled_at timestamptz
        );
        COMMENT ON COLUMN platform.account.properties IS 'NULL: every property of the tenant.';
        CREATE INDEX account_tenant ON platform.account (tenant, email);
        CREATE TABLE platform.password (
            account text PRIMARY KEY REFERENCES platform.account ON DELETE CASCADE,
            phc     text NOT NULL,
            set_at  timestamptz NOT NULL
        );
        CREATE TABLE platform.sign_in (
            id         text PRIMARY KEY,
            tenant     text NOT NULL,
            account    text NOT NULL REFERENCES platform.account ON DELETE CASCADE,
            channel    text NOT NULL CHECK (channel IN ('browser', 'client')),
            address    text NOT NULL,
            agent      text NOT NULL,
            began_at   timestamptz NOT NULL,
            used_at    timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            ended_at   timestamptz,
            ended_why  text
        );
        CREATE INDEX sign_in_account ON platform.sign_in (account, began_at DESC);
        CREATE TABLE platform.token (
            sha256     bytea PRIMARY KEY,
            sign_in    text NOT NULL REFERENCES platform.sign_in ON DELETE CASCADE,
            kind       text NOT NULL CHECK (kind IN ('access', 'refresh', 'cookie')),
            expires_at timestamptz NOT NULL,
            used_at    timestamptz
        );
        CREATE INDEX token_sign_in ON platform.token (sign_in);
        CREATE TABLE platform.api_client (
            id         text PRIMARY KEY,
            tenant     text NOT NULL REFERENCES platform.tenant,
            name       text NOT NULL,
            role       text NOT NULL CHECK (role IN ('viewer', 'staff', 'admin')),
            properties text[],
            sha256     bytea NOT NULL UNIQUE,
            created_by text NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            ended_at   timestamptz,
            UNIQUE (tenant, name)
        );
        CREATE TABLE platform.attempt_bucket (
            key     bytea PRIMARY KEY,
            level   double precision NOT NULL,
            at      timestamptz NOT NULL,
            refused boolean NOT NULL
        );
        CREATE INDEX attempt_bucket_at ON platform.attempt_bucket (at);
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("""
        DROP TABLE platform.attempt_bucket, platform.api_client, platform.token, platform.sign_in, platform.password,
                   platform.account
    """)
