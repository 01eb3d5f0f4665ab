"""A guest who is called otherwise is so in every reservation of ours that he holds, though none of them changed."""

import msgspec
import pytest

from cloud.kit.database import Database
from cloud.pms import hints
from cloud.pms.cloudbeds import wire as cloudbeds
from cloud.pms.emulation.face import TAME
from cloud.pms.ohip import wire as ohip
from cloud.pms.port import OF_GUEST, Hint
from cloud.pms.stayntouch import wire as stayntouch
from protocols.errors import PeerProtocolError
from tests.cloud.houses import DAY_MS, HOUR_MS
from tests.cloud.pms.test_vendors import NOON_MS, World, world

pytestmark = pytest.mark.requirement("PMS-08")
REMEMBERED = ["cloudbeds", "ohip", "stayntouch"]


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        (cloudbeds.hints(b'{"event": "guest/details_changed", "propertyID": 1, "guestId": 77}'), f"{OF_GUEST}77"),
        (cloudbeds.hints(b'{"event": "guest/details_changed", "guestID_str": "77"}'), f"{OF_GUEST}77"),
        (cloudbeds.hints(b'{"event": "guest/assigned", "guestId": "77", "reservationId": "5"}'), "5"),
        (stayntouch.hints(b'{"object": "event", "event": "edit_guest", "data": {"object": "guest", "id": 77}}'),
         f"{OF_GUEST}77"),
        (stayntouch.hints(b'{"object": "event", "event": "edit_guest", "data": {"id": 77}}'), f"{OF_GUEST}77"),
        ([ohip.event_hint(b'{"header": {"moduleName": "Profile", "primaryKey": "77"}}')], f"{OF_GUEST}77"),
        ([ohip.event_hint(b'{"moduleName": "PROFILE", "eventName": "UPDATE PROFILE", "primaryKey": 77}')],
         f"{OF_GUEST}77"),
    ],
)  # fmt: skip
def test_an_event_about_a_guest_is_a_hint_at_whatever_he_booked(found: list[Hint], hint: str) -> None:
    assert found == [Hint("reservation", hint)]


def test_an_event_about_a_guest_that_names_none_is_no_hint() -> None:
    assert cloudbeds.hints(b'{"event": "guest/details_changed", "propertyID": 1}') == []
    with pytest.raises(PeerProtocolError, match="primaryKey"):
        ohip.event_hint(b'{"moduleName": "PROFILE"}')


async def names(w: World) -> dict[str, str]:
    return {row["external_id"]: row["guest_name"] for row in await w.rows("SELECT * FROM stays.stay")}


async def his(w: World) -> tuple[str, list[str], str]:
    """Book twice for one guest and once for another; return the guest, his reservations and the other's."""
    first, second = w.book("101"), w.book("102", start_ms=NOON_MS + 5 * DAY_MS)
    other = w.book("103", start_ms=NOON_MS + DAY_MS)
    guest = w.hotel.reservation(first).account_id
    w.hotel.reservation(second).account_id = guest
    for _ in range(4):
        await w.live(3)
        w.clock.advance(20_000)
    assert set(await names(w)) == {first, second, other}
    return guest, [first, second], other


@pytest.mark.tier("postgres")
@pytest.mark.parametrize("name", [*REMEMBERED, "mews"])
async def test_a_changed_name_comes_with_its_event_and_to_nobody_else(database: Database, name: str) -> None:
    async with world(database, name) as w:
        guest, reservations, other = await his(w)
        changed = {each: w.hotel.reservation(each).updated_ms for each in reservations}
        w.hotel.rename(guest, first_name="Anna", last_name="Żółć-Berger")
        await w.live(4)
        assert await names(w) == dict.fromkeys(reservations, "Anna Żółć-Berger") | {other: "Anna Berger"}
        assert {each: w.hotel.reservation(each).updated_ms for each in reservations} == changed


@pytest.mark.tier("postgres")
@pytest.mark.parametrize("name", REMEMBERED)
async def test_it_is_followed_within_the_limits_once_for_each_and_again_a_little_later(
    database: Database, name: str
) -> None:
    async with world(database, name) as w:
        guest, _, _ = await his(w)
        read = "getReservation" if name == "cloudbeds" else "reservations"
        w.sync._polled_ms = w.clock.now_ms()
        before = w.emulator.calls.get(read, 0)
        async with w.database.transaction() as connection:
            for _ in range(5):  # doubled, and heard again before it was followed
                told = [Hint("reservation", OF_GUEST + each) for each in (guest, guest, "12345")]
                await hints.store(connection, property_id="aurora", system=name, hints=told, now_ms=w.clock.wall_ms())
        await w.live(4)
        assert w.emulator.calls[read] - before == 2, "each of his two, once"
        waiting = await w.rows("SELECT external_id, attempts FROM pms.hint ORDER BY external_id")
        assert [row["attempts"] for row in waiting] == [1, 1]
        w.hotel.customers[guest]["LastName"] = "Read too early at first"
        w.clock.advance(30_000)
        await w.live(4)
        assert list((await names(w)).values()).count("Anna Read too early at first") == 2
        assert await w.rows("SELECT * FROM pms.hint") == []


@pytest.mark.tier("postgres")
async def test_whoever_left_long_ago_or_never_came_is_not_read_for_his_name(database: Database) -> None:
    async with world(database, "cloudbeds") as w:
        guest, [first, second], _ = await his(w)
        w.hotel.start(first)
        w.hotel.process(first)
        w.hotel.cancel(second, "Other")
        await w.live(3)
        w.clock.advance(4 * DAY_MS)
        await w.live(3)
        w.sync._polled_ms, before = w.clock.now_ms(), w.emulator.calls.get("getReservation", 0)
        w.hotel.rename(guest, first_name="Anna", last_name="Elsewhere")
        await w.live(3)
        assert w.emulator.calls["getReservation"] == before
        assert "Anna Elsewhere" not in (await names(w)).values()


@pytest.mark.tier("postgres")
async def test_who_takes_a_reservation_over_is_followed_and_who_had_it_is_not(database: Database) -> None:
    async with world(database, "cloudbeds") as w:
        guest, [first, _], other = await his(w)
        heir = w.hotel.reservation(other).account_id
        w.hotel.reservation(first).account_id = heir
        w.hotel.update(first, start_ms=NOON_MS - 2 * HOUR_MS)
        await w.live(3)
        w.hotel.rename(heir, first_name=None, last_name="Heir")
        w.hotel.rename(guest, first_name=None, last_name="Gone")
        await w.live(4)
        found = await names(w)
        assert (found[first], found[other]) == ("Heir", "Heir")
        assert list(found.values()).count("Gone") == 1


@pytest.mark.tier("postgres")
@pytest.mark.parametrize("name", REMEMBERED)
async def test_an_event_that_cannot_be_followed_now_is_followed_later(database: Database, name: str) -> None:
    async with world(database, name) as w:
        guest, reservations, _ = await his(w)
        w.emulator.knobs = msgspec.structs.replace(TAME, fault=1.0)
        w.hotel.rename(guest, first_name="Anna", last_name="Later")
        await w.live(5)
        w.emulator.knobs = TAME
        w.clock.advance(600_000)  # what OPERA's queue hands over is gone, answered or not: then all is compared
        await w.live(40)
        found = await names(w)
        assert [found[each] for each in reservations] == ["Anna Later"] * 2
