"""The house's terms: a text a version and language, never changed once it stands here."""

from alembic import op

revision = "checkin_0003"
down_revision = "checkin_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What a guest accepted can be shown for as long as the house is."""
    op.execute("""
        CREATE TABLE checkin.terms (
            tenant   text NOT NULL,
            property text NOT NULL,
            version  text NOT NULL,
            language text NOT NULL CHECK (language ~ '^[a-z]{2}$'),
            text     text NOT NULL,
            sha256   bytea NOT NULL CHECK (length(sha256) = 32),
            made_by  text NOT NULL,
            made_at  timestamptz NOT NULL,
            PRIMARY KEY (property, version, language)
        );
    """)


def downgrade() -> None:
    """Drop the texts."""
    op.execute("DROP TABLE checkin.terms")
