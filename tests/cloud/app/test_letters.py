"""Letters as the service is made: [mail] says where to, and the running service decides by itself."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from cloud.app.letters import make_letters
from cloud.app.service import run
from cloud.app.settings import CloudSettings, MailSettings
from cloud.checkin.mail.emulator import MailServer
from cloud.checkin.sessions import Sessions
from cloud.kit.database import Database, fetch_all
from cloud.pms.port import GuestContact, PmsAdapter
from cloud.privacy.sealing import Sealer
from cloud.stays.stays import upsert_reservations
from kit.clock import ManualClock, SystemClock
from kit.dice import SystemDice
from kit.settings import load
from protocols.errors import InvalidInputError
from provisioning.pki.development_ca import DevelopmentAuthority
from tests.cloud.app.test_service import written
from tests.cloud.houses import DAY_MS, HOUR_MS, NOW_MS, PLACE, open_house, reservation

pytestmark = pytest.mark.requirement("CHK-06")

MAIL: dict[str, Any] = {
    "host": "127.0.0.1", "sender": "desk@hotel.example", "pages": "https://rooms.example",
    "properties": [{"property": "aurora", "invite_hours": 24}],
}  # fmt: skip


def mail(**changes: object) -> MailSettings:
    return msgspec.convert({**MAIL, **changes}, MailSettings, dec_hook=lambda kind, told: kind(told))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tls": "none", "host": "smtp.example"}, "tls"),
        ({"username": "innkeeper"}, "password_path"),
        ({"pages": "http://rooms.example"}, "pages"),
        ({"pages": "https://rooms.example/guest"}, "pages"),
        ({"pages": "https://user@rooms.example"}, "pages"),
        ({"pages": "https://"}, "pages"),
        ({"pages": "https://:443"}, "pages"),
        ({"sender": "Desk <desk@hotel.example>"}, "sender"),
        ({"sender": "desk@hotel.example\nBcc: x@y.example"}, "sender"),
        ({"port": 0}, "port"),
        ({"properties": [{"property": "aurora", "invite_hours": 337}]}, "invite_hours"),
        ({"properties": [{"property": "aurora"}, {"property": "aurora"}]}, "twice"),
        ({"properties": [{"property": "aurora", "language": "tlh"}]}, "language"),
    ],
)
def test_what_would_not_do_is_said_at_the_start(changes: dict[str, object], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        mail(**changes)
    assert mail().properties[0].room_ready


class KnowsAnna:
    """A PMS that tells where Anna is written to."""

    system = "mews"

    class capabilities:  # noqa: N801 - an attribute of the port
        contacts = True

    async def contact(self, external_id: str) -> GuestContact:
        return GuestContact("anna@guests.example", "es")


async def booked(database: Database, now_ms: int) -> None:
    await open_house(database)
    # he is late: whoever comes before the morning is written to at night as well
    coming = reservation(arrival_ms=now_ms - HOUR_MS, departure_ms=now_ms + DAY_MS)
    async with database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [coming], now_ms=now_ms)


@pytest.mark.tier("postgres")
async def test_a_letter_goes_from_the_settings_to_the_guest(database: Database, tmp_path: Path) -> None:
    clock, dice = ManualClock(wall_ms=NOW_MS), SystemDice()
    await booked(database, NOW_MS)
    authority = DevelopmentAuthority(tmp_path / "ca", name="mail authority", now=datetime.now(UTC))
    files = authority.server("mail-server")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.certificate, files.private_key)
    secret = tmp_path / "smtp.secret"
    secret.write_text("a password\n")
    sessions = Sessions(database, Sealer(None, dice=dice), clock=clock, dice=dice)
    adapters = {("aurora", "mews"): cast("PmsAdapter", KnowsAnna())}
    async with MailServer(tls=tls, credentials=("innkeeper", "a password")) as server:
        settings = mail(port=server.port, username="innkeeper", password_path=str(secret), ca_path=str(files.authority))
        assert await make_letters(settings, database, sessions, adapters, clock=clock, dice=dice).work() == 1
    [taken] = server.taken
    assert (taken.sender, taken.to, taken.encrypted) == ("desk@hotel.example", "anna@guests.example", True)
    assert taken.message["Content-Language"] == "es"
    for sender in ("desk@hotel.example.", "the..desk@hotel.example"):
        with pytest.raises(InvalidInputError, match="sender"):
            make_letters(mail(sender=sender), database, sessions, adapters, clock=clock, dice=dice)
    nothing = mail(ca_path=str(tmp_path / "nowhere.pem"))
    with pytest.raises(InvalidInputError, match="ca_path"):
        make_letters(nothing, database, sessions, adapters, clock=clock, dice=dice)


@pytest.mark.tier("postgres")
async def test_the_running_service_decides_by_itself(database: Database, dsn: str, tmp_path: Path) -> None:
    clock = SystemClock("host")
    await booked(database, clock.wall_ms())
    more = [
        "[mail]", 'host = "127.0.0.1"', 'tls = "none"', "port = 1", 'sender = "desk@hotel.example"',
        'pages = "https://rooms.example"', "[[mail.properties]]", 'property = "aurora"', "invite_hours = 24",
    ]  # fmt: skip
    settings = load(CloudSettings, written(tmp_path, dsn, *more), "INNKEEPER_CLOUD", {})
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(run(settings, clock=clock, dice=SystemDice(), bound=bound.set_result, stop=stop))

    async def stands() -> list[tuple[str, str | None]]:
        async with database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT state, reason FROM checkin.letter")
        return [(row["state"], row["reason"]) for row in rows]

    async with asyncio.timeout(60):
        while await stands() != [("not_possible", "no_address")]:  # there is no PMS to ask
            assert not serving.done()
            await asyncio.sleep(0.05)
        stop.set()
        await serving
