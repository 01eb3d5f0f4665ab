"""The time series: readings by when they were so, their roll-ups, and what is still to be rolled up."""

import sqlalchemy as sa
from alembic import op

revision = "telemetry_0002"
down_revision = "telemetry_0001"
branch_labels = None
depends_on = None

COMMON = """
    CREATE TABLE telemetry.series (
        id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant     text NOT NULL,
        property   text NOT NULL,
        device     text NOT NULL,
        capability text NOT NULL,
        attribute  text NOT NULL,
        room       text NOT NULL DEFAULT '',
        unit       text NOT NULL DEFAULT '',
        UNIQUE (tenant, property, device, capability, attribute, room, unit)
    );
    COMMENT ON TABLE telemetry.series IS 'What a reading is of. Empty room or unit: none.';
    CREATE TABLE telemetry.rollup_log (
        id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        property text NOT NULL,
        low      timestamptz NOT NULL,
        high     timestamptz NOT NULL,
        told_at  timestamptz NOT NULL
    );
    CREATE INDEX rollup_log_of_property ON telemetry.rollup_log (property, low);
    CREATE INDEX rollup_log_by_time ON telemetry.rollup_log (low);
    COMMENT ON TABLE telemetry.rollup_log IS
        'Readings of this property in low..high, both included, were written and are not rolled up yet.';
    CREATE TABLE telemetry.rollup_due (
        resolution text NOT NULL CHECK (resolution IN ('15m', '1d')),
        property   text NOT NULL,
        bucket     timestamptz NOT NULL,
        due_at     timestamptz NOT NULL,
        PRIMARY KEY (resolution, property, bucket)
    );
    CREATE INDEX rollup_due_next ON telemetry.rollup_due (resolution, due_at);
    CREATE TABLE telemetry.kept (
        resolution text PRIMARY KEY,
        since      timestamptz NOT NULL
    );
    COMMENT ON TABLE telemetry.kept IS 'Of each resolution that ever let go of something: since when it is whole.';
"""

READING = """
        at          timestamptz NOT NULL,
        series      integer NOT NULL,
        edge_at     timestamptz NOT NULL,
        number      double precision,
        flag        boolean,
        text        text,
        quality     smallint NOT NULL,
        time_source smallint NOT NULL,
        ordinal     bigint NOT NULL,
        seq         bigint NOT NULL
"""

ROLLUP = """
        bucket        timestamptz NOT NULL,
        series        integer NOT NULL,
        samples       bigint NOT NULL,
        flawed        bigint NOT NULL,
        numbers       bigint NOT NULL,
        least         double precision,
        most          double precision,
        total         double precision NOT NULL,
        first_at      timestamptz,
        first_ordinal bigint,
        first_seq     bigint,
        first         double precision,
        first_text    text,
        last_at       timestamptz,
        last_ordinal  bigint,
        last_seq      bigint,
        last          double precision,
        last_text     text,
        PRIMARY KEY (series, bucket)
"""

PLAIN = f"""
    CREATE TABLE telemetry.reading ({READING}) PARTITION BY RANGE (at);
    CREATE INDEX reading_of_series ON telemetry.reading (series, at);
    CREATE INDEX reading_by_time ON telemetry.reading USING brin (at) WITH (pages_per_range = 32);
    CREATE TABLE telemetry.reading_rest PARTITION OF telemetry.reading DEFAULT;
    COMMENT ON TABLE telemetry.reading_rest IS
        'Readings of days that have no partition: before they had one, or after retention let it go.';
    CREATE TABLE telemetry.rollup_1m ({ROLLUP}) PARTITION BY RANGE (bucket);
    CREATE TABLE telemetry.rollup_15m ({ROLLUP}) PARTITION BY RANGE (bucket);
    CREATE TABLE telemetry.rollup_1d ({ROLLUP}) PARTITION BY RANGE (bucket);
"""

# (at in ms, ordinal, seq) as one number: what `first` and `last` of TimescaleDB order by must be of one plain type
_KEY = "((extract(epoch FROM at) * 1000)::bigint * 1e38::numeric + ordinal * 1e19::numeric + seq)"

_FROM_RAW = f"""
    count(*) FILTER (WHERE quality < 2) AS samples,
    count(*) FILTER (WHERE quality >= 2) AS flawed,
    count(coalesce(number, flag::int)) FILTER (WHERE quality < 2) AS numbers,
    min(coalesce(number, flag::int)) FILTER (WHERE quality < 2) AS least,
    max(coalesce(number, flag::int)) FILTER (WHERE quality < 2) AS most,
    coalesce(sum(coalesce(number, flag::int)) FILTER (WHERE quality < 2), 0) AS total,
    min({_KEY}) FILTER (WHERE quality < 2) AS first_key,
    max({_KEY}) FILTER (WHERE quality < 2) AS last_key,
    first(coalesce(number, flag::int), {_KEY})
        FILTER (WHERE quality < 2) AS first,
    first(text, {_KEY})
        FILTER (WHERE quality < 2) AS first_text,
    last(coalesce(number, flag::int), {_KEY})
        FILTER (WHERE quality < 2) AS last,
    last(text, {_KEY})
        FILTER (WHERE quality < 2) AS last_text
"""

_FROM_FINER = """
    sum(samples) AS samples, sum(flawed) AS flawed, sum(numbers) AS numbers,
    min(least) AS least, max(most) AS most, sum(total) AS total,
    min(first_key) AS first_key, max(last_key) AS last_key,
    first(first, first_key) FILTER (WHERE samples > 0) AS first,
    first(first_text, first_key) FILTER (WHERE samples > 0) AS first_text,
    last(last, last_key) FILTER (WHERE samples > 0) AS last,
    last(last_text, last_key) FILTER (WHERE samples > 0) AS last_text
"""


def _continuous(name: str, step: str, what: str, source: str, at: str) -> str:
    return f"""
        CREATE MATERIALIZED VIEW telemetry.{name}
            WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
            SELECT time_bucket(INTERVAL '{step}', {at}) AS bucket, series, {what}
              FROM telemetry.{source} GROUP BY 1, 2 WITH NO DATA;
    """  # noqa: S608 - put together from this file alone


def _timescale() -> list[str]:
    """Roll-ups are continuous aggregates; what was folded in later stands beside them, in tables of the same shape."""
    told = [
        f"CREATE TABLE telemetry.reading ({READING})",
        "SELECT create_hypertable('telemetry.reading', 'at', chunk_time_interval => INTERVAL '1 day',"
        " create_default_indexes => false)",
        "CREATE INDEX reading_of_series ON telemetry.reading (series, at)",
        "ALTER TABLE telemetry.reading SET (timescaledb.compress, timescaledb.compress_segmentby = 'series',"
        " timescaledb.compress_orderby = 'at, ordinal, seq')",
        _continuous("reading_1m", "1 minute", _FROM_RAW, "reading", "at"),
        _continuous("reading_15m", "15 minutes", _FROM_FINER, "reading_1m", "bucket"),
        _continuous("reading_1d", "1 day", _FROM_FINER, "reading_15m", "bucket"),
    ]
    for name in ("1m", "15m", "1d"):
        told.append(f"CREATE TABLE telemetry.folded_{name} ({ROLLUP})")
        view = f"""
            CREATE VIEW telemetry.rollup_{name} AS
            SELECT bucket, series, samples::bigint, flawed::bigint, numbers::bigint, least, most, total,
                   to_timestamp(div(first_key, 1e38)::float8 / 1000) AS first_at,
                   mod(div(first_key, 1e19), 1e19)::bigint AS first_ordinal,
                   mod(first_key, 1e19)::bigint AS first_seq, first, first_text,
                   to_timestamp(div(last_key, 1e38)::float8 / 1000) AS last_at,
                   mod(div(last_key, 1e19), 1e19)::bigint AS last_ordinal,
                   mod(last_key, 1e19)::bigint AS last_seq, last, last_text
              FROM telemetry.reading_{name}
            UNION ALL SELECT * FROM telemetry.folded_{name}
        """  # noqa: S608 - put together from this file alone
        told.append(view)
    return told


def upgrade() -> None:
    """Create the tables: a hypertable where the extension timescaledb is installed in this database, else partitions.

    A reading's tenant, property, room, device, capability, attribute and unit stand once in `series`, because they are
    ten times as long as the reading. Readings are partitioned by when they were so, since that is what is asked for and
    let go of.
    """
    op.execute(COMMON)
    installed = op.get_bind().execute(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")).scalar()
    if installed is None:
        op.execute(PLAIN)
    else:
        for statement in _timescale():
            op.execute(statement)
    op.execute("""
        CREATE VIEW telemetry.readings AS
        SELECT s.tenant, s.property, s.room, s.device, s.capability, s.attribute, r.at, r.edge_at, r.number, r.flag,
               r.text, s.unit, r.quality, r.time_source, r.ordinal, r.seq
          FROM telemetry.reading r JOIN telemetry.series s ON s.id = r.series
    """)


def downgrade() -> None:
    """Drop the time series."""
    op.execute("""
        DROP VIEW telemetry.readings;
        DROP TABLE IF EXISTS telemetry.folded_1m, telemetry.folded_15m, telemetry.folded_1d CASCADE;
        DROP TABLE telemetry.reading CASCADE;
        DROP TABLE IF EXISTS telemetry.rollup_1m, telemetry.rollup_15m, telemetry.rollup_1d CASCADE;
        DROP TABLE telemetry.kept, telemetry.rollup_due, telemetry.rollup_log, telemetry.series;
    """)
