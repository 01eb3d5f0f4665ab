"""Thinned readings keep what they stand for; days of the ledger that were let go keep their proof."""

from alembic import op

revision = "telemetry_0004"
down_revision = "telemetry_0003"
branch_labels = None
depends_on = None

SUMMARY = (
    "since timestamptz", "stands_for bigint", "samples bigint", "numbers bigint", "least double precision",
    "most double precision", "mean double precision", "total double precision", "first double precision",
    "first_text text",
)  # fmt: skip


def upgrade() -> None:
    """Add to holes how many records lie inside, to readings what a thinned one says, to proofs what stands for rows.

    The columns of a summary are null in ordinary readings, whose rows do not grow: two bytes of null flags hold them.
    `stands_for`, `least`, `most`, `mean` are as the building told them over `since` to `at`; `samples`, `numbers`,
    `total` leave out what is stored by itself as well: they are what roll-ups add.
    """
    op.execute("""
        ALTER TABLE telemetry.hole ADD COLUMN inside bigint NOT NULL DEFAULT 0;
        COMMENT ON COLUMN telemetry.hole.inside IS 'Records at positions of this hole: of a thinned one alone.';
        DO $$
        BEGIN  -- the owner sees no rows through the fence, where it stands already
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'innkeeper_system') THEN
                IF has_table_privilege('innkeeper_system', 'telemetry.hole', 'UPDATE') THEN
                    SET LOCAL ROLE innkeeper_system;
                END IF;
            END IF;
            UPDATE telemetry.hole h
               SET inside = (SELECT count(DISTINCT r.seq) FROM telemetry.record r
                              WHERE (r.edge, r.incarnation, r.lane) = (h.edge, h.incarnation, h.lane)
                                AND r.seq BETWEEN h.first AND h.last)
             WHERE h.reason = 'thinned';
            RESET ROLE;
        END $$;
    """)
    for column in SUMMARY:  # one at a time: TimescaleDB takes no more where it compresses
        op.execute(f"ALTER TABLE telemetry.reading ADD COLUMN {column}")
    op.execute("""
        ALTER TABLE telemetry.proof ADD COLUMN digest bytea, ADD COLUMN let_go_at timestamptz;
        CREATE INDEX proof_of_day ON telemetry.proof (day, lane);
        COMMENT ON COLUMN telemetry.proof.digest IS
            'SHA-256 over the SHA-256 of each record of that day, in order of position and storing.';
        COMMENT ON COLUMN telemetry.proof.let_go_at IS 'When retention dropped the rows that this stands for.';
    """)


def downgrade() -> None:
    """Take it away again."""
    names = [column.split()[0] for column in SUMMARY]
    for name in names:
        op.execute(f"ALTER TABLE telemetry.reading DROP COLUMN {name}")
    op.execute("""
        DROP INDEX telemetry.proof_of_day;
        ALTER TABLE telemetry.proof DROP COLUMN digest, DROP COLUMN let_go_at;
        ALTER TABLE telemetry.hole DROP COLUMN inside;
    """)
