"""The websocket /api/v1/properties/{p}/live."""

import asyncio
import contextlib
from typing import Final

from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import WebsocketRouteHandler
from litestar.params import FromPath

from cloud.kit.database import Database
from cloud.platform.access_policy import ACTION
from cloud.public.gate import Gate, property_for
from cloud.public.live import Feeds, messages
from cloud.public.reader import WallClock
from protocols.errors import StoreFailedError

TRY_AGAIN_LATER: Final = 1013
POLICY_VIOLATION: Final = 1008
SEND_WAIT_S: Final = 30.0
"""A watcher that has not taken one message in this time is not watching: its connection is given up."""
SESSION_LOOK_MS: Final = 15_000
REASON_BYTES_MOST: Final = 123  # RFC 6455, 5.5


def live(feeds: Feeds, database: Database, clock: WallClock, gate: Gate) -> WebsocketRouteHandler:
    """Return the route; it sends only, and ends when the watcher hangs up, stops reading or is signed out."""

    @websocket("/api/v1/properties/{property_id:str}/live", opt={ACTION: "property.read"})
    async def stream(socket: WebSocket, property_id: FromPath[str]) -> None:  # type: ignore[type-arg]  # its three parameters are the framework's own business
        async with database.transaction() as connection:
            found = await property_for(connection, socket.user, property_id)
        await socket.accept()
        hung_up = asyncio.create_task(_until_hung_up(socket), name="live-hung-up")
        try:
            async with feeds.watch(found) as watched:
                said = messages(watched, clock)
                looked_ms = clock.wall_ms()
                while True:
                    next_message = asyncio.ensure_future(anext(said))
                    try:
                        await asyncio.wait({next_message, hung_up}, return_when=asyncio.FIRST_COMPLETED)
                        if hung_up.done():
                            return
                        if clock.wall_ms() - looked_ms >= SESSION_LOOK_MS:
                            if not await gate.may_stay(socket):
                                await socket.close(code=POLICY_VIOLATION, reason="the session has ended")
                                return
                            looked_ms = clock.wall_ms()
                        async with asyncio.timeout(SEND_WAIT_S):
                            await socket.send_data(next_message.result(), mode="text")
                    finally:
                        next_message.cancel()
                        with contextlib.suppress(asyncio.CancelledError, StoreFailedError):
                            await next_message
        except StoreFailedError as error:
            await socket.close(code=TRY_AGAIN_LATER, reason=str(error)[:REASON_BYTES_MOST])
        except (WebSocketDisconnect, TimeoutError):
            return
        finally:
            hung_up.cancel()

    return stream


async def _until_hung_up(socket: WebSocket) -> None:  # type: ignore[type-arg]  # its three parameters are the framework's own business
    """Read and drop what a watcher sends until it is gone; nothing it says means anything."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.receive_data(mode="text")
