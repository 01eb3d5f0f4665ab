"""The peer of bench/api.py: litestar on our server, a pool of psycopg, one row by its key, and nothing else."""

import asyncio
import sys

from litestar import get
from litestar.params import FromPath
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from kit.http import application, serve


async def main(dsn: str) -> None:
    """Serve until ended; the port is the first line of the output."""
    async with AsyncConnectionPool(dsn, min_size=4, max_size=16, open=False) as pool:

        @get("/stays/{stay_id:str}")
        async def one(stay_id: FromPath[str]) -> dict[str, object]:
            async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(
                    "SELECT id, state, room, guest_name, expected_from, expected_until FROM stays.stay"
                    " WHERE property = 'aurora' AND id = %s",
                    [stay_id],
                )
                return await cursor.fetchone() or {}

        @get("/health")
        async def health() -> None:
            return None

        await serve(application([one, health]), "127.0.0.1", 0, bound=lambda port: print(port, flush=True))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
