"""A house whose guests are written to, with its PMS and its mail server: what the tests of letters stand on."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cloud.checkin.letter_work import Letters, Wish
from cloud.checkin.letters import HOUR_MS
from cloud.checkin.mail.emulator import MailServer
from cloud.checkin.mail.smtp import Account, SmtpMail
from cloud.checkin.sessions import COMPLETED, STARTED, STEP_DONE
from cloud.kit.outbox import Relay
from cloud.pms.port import GuestContact
from cloud.stays.stays import STAY_CHANGED
from kit.dice import SeededDice
from kit.logs import logger
from protocols.errors import PlatformError
from tests.cloud.checkin.front_desk import STAY, Desk, single
from tests.cloud.houses import DAY_MS, NOW_MS
from tests.cloud.public.conftest import Site

TO = "anna@guests.example"
LINK = re.compile(r"https://rooms\.example/guest/#check-in=aurora/(\S+)/(ikg_[\w-]{43})")
SOON = single(arrival_ms=NOW_MS + 10 * HOUR_MS, departure_ms=NOW_MS + 2 * DAY_MS)


@dataclass
class Pms:
    """A PMS that tells what it is told to."""

    contact: GuestContact | None = field(default_factory=lambda: GuestContact(TO, "de"))
    trouble: PlatformError | None = None
    others: dict[str, GuestContact | None] = field(default_factory=dict)
    """Of reservations that are not as all others, by the PMS's id."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    then: Callable[[], Any] | None = None

    async def contact_of(self, property_id: str, system: str, external_id: str) -> GuestContact | None:
        self.asked.append((property_id, system, external_id))
        if self.then is not None:
            await self.then()
        if self.trouble is not None:
            raise self.trouble
        return self.others.get(external_id, self.contact)


class CrashedError(Exception):
    """What ends a process, in a test."""


class Post:
    """A house whose guests are written to."""

    def __init__(self, site: Site, server: MailServer, *, hours: int = 24) -> None:
        self.site, self.server, self.desk, self.pms = site, server, Desk(site), Pms()
        self.mail = SmtpMail(Account("127.0.0.1", server.port, "desk@hotel.example", tls="none"), step_s=20)
        self.letters = self.make(Wish(hours, language="fr"))
        handlers = dict.fromkeys((STARTED, STEP_DONE, COMPLETED, STAY_CHANGED), (self.letters.on_moved,))
        self.relay = Relay(site.database, subscribers=handlers, clock=site.clock, log=logger("test"))

    def make(self, wish: Wish, mail: Any = None, **changes: Any) -> Letters:
        parts: dict[str, Any] = {
            "wishes": {"aurora": wish}, "sender": "desk@hotel.example", "pages": "https://rooms.example/",
            "clock": self.site.clock, "dice": SeededDice(7), "log": logger("test"), **changes,
        }  # fmt: skip
        return Letters(self.site.database, self.site.sessions, self.pms, mail or self.mail, **parts)

    async def work(self, *, after_ms: int = 0) -> int:
        self.site.clock.advance(after_ms)
        await self.relay.drain()
        return await self.letters.work()

    async def row(self, kind: str = "invitation") -> dict[str, Any] | None:
        found = await self.desk.rows("SELECT * FROM checkin.letter ORDER BY kind")
        return next((each for each in found if each["kind"] == kind), None)

    async def stands(self, kind: str = "invitation") -> tuple[str, str | None] | None:
        row = await self.row(kind)
        return None if row is None else (row["state"], row["reason"])

    async def open_links(self) -> int:
        return len(await self.desk.rows("SELECT 1 FROM checkin.guest_link WHERE ended_at IS NULL"))

    async def told(self, kind: str) -> list[dict[str, Any]]:
        return [row["body"] for row in await self.desk.rows("SELECT type, body FROM outbox.event ORDER BY id")
                if row["type"] == kind]  # fmt: skip

    def tokens(self) -> list[str]:
        found = []
        for each in self.server.taken:
            part = each.message.get_body(("plain",))
            assert part is not None
            match = LINK.search(part.get_content())
            assert match is not None
            assert match[1] == STAY
            found.append(match[2])
        return found


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with MailServer() as house:
        yield house


@pytest.fixture
async def post(site: Site, server: MailServer) -> Post:
    return Post(site, server)


async def several(post: Post, count: int) -> None:
    await post.desk.book(
        *[
            replace(SOON, external_id=f"r{each + 1}", number=f"N-{each}", guest_name=f"Guest {each}")
            for each in range(count)
        ]
    )
