"""Refunds that wait for a second person, and above which amount they do at a property."""

from alembic import op

revision = "payments_0004"
down_revision = "payments_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One wish at a time for a payment, whether it waits for a person or for the provider."""
    op.execute("""
        ALTER TABLE payments.movement
            DROP CONSTRAINT movement_state_check,
            ADD CONSTRAINT movement_state_check
                CHECK (state IN ('waiting', 'asked', 'unknown', 'done', 'refused')),
            ADD COLUMN asked_person text,
            ADD COLUMN approved_by  text,
            ADD COLUMN approved_at  timestamptz,
            ADD CONSTRAINT movement_waits CHECK (state <> 'waiting'
                OR (verb = 'refund' AND asked_person IS NOT NULL AND approved_by IS NULL));
        COMMENT ON COLUMN payments.movement.asked_person IS 'Who asked, whatever he signed in with.';
        DROP INDEX payments.movement_under_way;
        CREATE UNIQUE INDEX movement_under_way ON payments.movement (payment)
            WHERE state IN ('waiting', 'asked', 'unknown');
        CREATE INDEX movement_waiting ON payments.movement (property, asked_at) WHERE state = 'waiting';
        CREATE TABLE payments.refund_rule (
            property text PRIMARY KEY,
            tenant   text NOT NULL,
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            minor    bigint NOT NULL CHECK (minor >= 0),
            set_by   text NOT NULL,
            set_at   timestamptz NOT NULL
        );
        COMMENT ON TABLE payments.refund_rule IS 'What one person alone may give back of a payment; no row: all of it.';
    """)


def downgrade() -> None:
    """Nobody can say the second word any more: what waits is refused."""
    op.execute("""
        ALTER TABLE payments.movement NO FORCE ROW LEVEL SECURITY; -- who migrates sees every row
        UPDATE payments.movement SET state = 'refused', failure = 'not_approved' WHERE state = 'waiting';
        DROP TABLE payments.refund_rule;
        DROP INDEX payments.movement_waiting, payments.movement_under_way;
        CREATE UNIQUE INDEX movement_under_way ON payments.movement (payment) WHERE state IN ('asked', 'unknown');
        ALTER TABLE payments.movement
            DROP CONSTRAINT movement_waits,
            DROP COLUMN asked_person, DROP COLUMN approved_by, DROP COLUMN approved_at,
            DROP CONSTRAINT movement_state_check,
            ADD CONSTRAINT movement_state_check CHECK (state IN ('asked', 'unknown', 'done', 'refused'));
    """)
