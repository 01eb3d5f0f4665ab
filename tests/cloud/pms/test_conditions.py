"""A room's condition in a word that nobody here knows, or in none: no arrival goes there unless the property says."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from cloud.app.settings import PmsSettings
from cloud.kit.database import Database
from cloud.pms import conditions
from cloud.pms.engine import PmsSync, Rhythm
from cloud.pms.ezee import wire as ezee
from cloud.pms.port import ItemError, PmsRoom, Rooms
from cloud.pms.reading import ExternalId
from cloud.pms.stayntouch import wire as stayntouch
from cloud.stays.reservation import Housekeeping
from kit.logs import logger
from tests.cloud.houses import AURORA, NOW_MS
from tests.cloud.pms.test_vendors import World, world

OWN = {"touch  UP": Housekeeping.PICKUP, "": Housekeeping.CLEAN}
pytestmark = pytest.mark.requirement("PMS-12")


def ezee_room(word: str) -> list[PmsRoom | ItemError]:
    return ezee.room(ezee.Room(roomid=ExternalId("9"), roomname="101", hkstatus=word), now_ms=NOW_MS)


def stayntouch_room(word: str) -> list[PmsRoom | ItemError]:
    return stayntouch.room(stayntouch.Room(id=ExternalId("9"), number="101", status=word), now_ms=NOW_MS)


@pytest.mark.parametrize("read", [ezee_room, stayntouch_room])
def test_a_word_of_the_propertys_own_is_read_and_is_no_problem_any_more(read: object) -> None:
    assert callable(read)
    told = Rooms.of(read("Touch up"))
    assert (told.rooms[0].housekeeping, [each.held_back for each in told.errors]) == (None, [False])
    read_now = conditions.understood(told, OWN)
    assert (read_now.rooms[0].housekeeping, read_now.errors) == (Housekeeping.PICKUP, ())
    other = conditions.understood(Rooms.of(read("Haunted")), OWN)
    assert (other.rooms[0].housekeeping, len(other.errors)) == (None, 1), "a word that it did not name"
    nothing = conditions.understood(Rooms.of(read("")), OWN)
    assert (nothing.rooms[0].housekeeping, nothing.errors) == (Housekeeping.CLEAN, ())
    known = conditions.understood(Rooms.of(read("Dirty")), {"dirty": Housekeeping.CLEAN})
    assert known.rooms[0].housekeeping is Housekeeping.DIRTY, "what is known is not overruled"


def test_a_problem_that_holds_a_room_back_stays_a_problem() -> None:
    twice = ItemError("9", "Name is missing", "resource")
    assert conditions.understood(Rooms((), (twice,)), OWN).errors == (twice,)


def with_word(w: World, word: str) -> None:
    """Say `word` of room 101 as its PMS would, whichever state it is in."""
    face = w.emulator
    offered = type(face).do

    def bent(told: object) -> object:
        if isinstance(told, dict):
            named = {"roomname", "number"} & told.keys()
            held = {key: bent(each) for key, each in told.items()}
            if any(told[each] == "101" for each in named):
                held |= {"hkstatus": word} if "hkstatus" in told else {"status": word, "service_status": "IN_SERVICE"}
            return held
        return [bent(each) for each in told] if isinstance(told, list) else told

    face.do = lambda ask: bent(offered(face, ask))  # type: ignore[method-assign]  # what another house calls it


async def housekeeping(w: World) -> tuple[str | None, str]:
    [room] = await w.rows("SELECT housekeeping FROM stays.room WHERE id = '101'")
    [stay] = await w.rows("SELECT state FROM stays.stay")
    return room["housekeeping"], stay["state"]


async def read_again(w: World, own: Mapping[str, Housekeeping] | None = None) -> None:
    sync = w.sync if own is None else PmsSync(
        w.database, w.adapter, property_id=AURORA.id, clock=w.clock, log=logger("test"), own_conditions=own,
        rhythm=Rhythm(timedelta(seconds=30), timedelta(minutes=10), timedelta(hours=24)),
    )  # fmt: skip
    found = await sync._property()
    assert found is not None
    w.clock.advance(60_000)
    await sync.read_rooms(found)


@pytest.mark.tier("postgres")
@pytest.mark.parametrize("name", ["ezee", "stayntouch"])
async def test_no_arrival_is_sent_to_a_room_in_a_condition_that_nobody_knows(database: Database, name: str) -> None:
    async with world(database, name) as w:
        w.book("101")
        await w.live(2)
        ready = await housekeeping(w)
        assert ready[1] == "ready"
        with_word(w, "")
        await read_again(w)
        assert await housekeeping(w) == ready, "nothing told: it is what it was"
        with_word(w, "Touch up")
        await read_again(w)
        assert await housekeeping(w) == (None, "planned"), "something about it has changed, and it may be dirty"
        [issue] = (await w.state()).issues
        assert (issue.held_back, "Touch up" in issue.problem) == (False, True)
        await read_again(w, {"Touch up": Housekeeping.CLEAN})
        assert await housekeeping(w) == ("clean", "ready"), "unless the property says what it means"
        assert (await w.state()).issues == ()


@pytest.mark.tier("postgres")
@pytest.mark.parametrize("name", ["ezee", "stayntouch"])
async def test_a_guest_who_is_in_such_a_room_stays_in_it(database: Database, name: str) -> None:
    async with world(database, name) as w:
        made = w.book("101")
        w.hotel.start(made)
        await w.live(2)
        with_word(w, "Haunted")
        await read_again(w)
        assert await housekeeping(w) == (None, "in_house")


@pytest.mark.tier("postgres")
async def test_a_room_of_which_nothing_was_ever_told_has_no_arrival_unless_the_property_says(
    database: Database,
) -> None:
    async with world(database, "ezee") as w:
        with_word(w, "")
        w.book("101")
        await w.live(2)
        assert await housekeeping(w) == (None, "planned")
        await read_again(w, {"": Housekeeping.CLEAN})
        assert await housekeeping(w) == ("clean", "ready")


def test_the_settings_take_words_of_a_propertys_own_for_ours_alone() -> None:
    told = {"property": "aurora", "system": "ezee", "platform": "https://ezee.invalid", "access_token_path": Path("a"),
            "webhook_secret_path": Path("b")}  # fmt: skip
    read = msgspec.convert({**told, "conditions": {"Touch up": "pickup", "": "clean"}}, PmsSettings, strict=False)
    assert read.conditions == {"Touch up": Housekeeping.PICKUP, "": Housekeeping.CLEAN}
    with pytest.raises(msgspec.ValidationError, match="spotless"):
        msgspec.convert({**told, "conditions": {"Touch up": "spotless"}}, PmsSettings, strict=False)
