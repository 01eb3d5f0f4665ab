"""What was accepted of terms whose very text stands in several languages: the digest alone never told in which one."""

from alembic import op

revision = "checkin_0004"
down_revision = "checkin_0003"
branch_labels = None
depends_on = None

_SHARED = """
    SELECT property, version, encode(sha256, 'hex') AS sha256, jsonb_agg(language ORDER BY language) AS languages
      FROM checkin.terms GROUP BY property, version, sha256 HAVING count(*) > 1
"""
_OF_IT = """
    step.kind = 'terms' AND step.property = shared.property AND step.evidence->>'version' = shared.version
    AND step.evidence->>'sha256' = shared.sha256
"""


def upgrade() -> None:
    """Evidence that named the first of several languages names them all: nobody knows which one was read."""
    op.execute(f"""
        ALTER TABLE checkin.terms NO FORCE ROW LEVEL SECURITY; -- who migrates sees every row; the fence comes back
        ALTER TABLE checkin.step NO FORCE ROW LEVEL SECURITY;  -- at the end of every upgrade
        UPDATE checkin.step AS step
           SET evidence = (step.evidence - 'language') || jsonb_build_object('languages', shared.languages)
          FROM ({_SHARED}) AS shared WHERE {_OF_IT};
    """)  # noqa: S608 - parts of this file


def downgrade() -> None:
    """Name the first of the languages again."""
    op.execute("""
        ALTER TABLE checkin.step NO FORCE ROW LEVEL SECURITY;
        UPDATE checkin.step SET evidence = (evidence - 'languages') || jsonb_build_object(
               'language', evidence->'languages'->0) WHERE kind = 'terms' AND evidence ? 'languages';
    """)
