"""Opening from afar: the guest's own word, in time, once, and never better said than seen; all else opens nothing."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge.doors.closing_desk import Order
from edge.doors.closing_methods import ClosingMethods
from edge.doors.vendor_methods import VendorMethods
from edge.doors.vendors.ledger import ENDED_KEPT_MS, KeyLedger
from edge.doors.vendors.port import (
    NO_REMOTE_OPENING,
    VendorBusyError,
    VendorFaultError,
    VendorRefusedError,
)
from edge.doors.vendors.remote_desk import INTERRUPTED, TURN_EACH_MS, TURNS_MOST, OpenAnswer, RemoteDesk
from kit.clock import ClockQuality
from kit.dice import SeededDice
from kit.metrics import Metrics
from protocols.device_model.identity import RoomId
from protocols.door.remote_open import AHEAD_MOST_MS, LATE_AFTER_MS, OpenOutcome, OpenRefusal, statement_of
from protocols.door.vendor_keys import OpensAfar, vendor_keys_of
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, PlatformError, ReplyTimeoutError
from protocols.vectors.remote_open_vectors import signed
from tests.edge.doors.building import Building, MemoryPhone
from tests.edge.doors.vendors.fakes import MemorySystem, desk_of, systems_of
from tests.house.sources import ROOT, syntax

pytestmark = [pytest.mark.requirement("A11", "P15"), pytest.mark.guarantee("G13")]
A1, A2, M1 = "a1", "a2", "101"
DAY_MS = 86_400_000


class Site:
    """The building, an annex (also room 101's inner door), and its desk for openings from afar."""

    def __init__(self, folder: Path) -> None:
        self.building, self.annex = Building(folder), MemorySystem()
        self.path, self.dice = folder / "vendor-keys.db", SeededDice("requests")
        self.open()

    def open(self) -> None:
        """Begin a run of the doors process."""
        building = self.building
        self.ledger = KeyLedger(self.path, epoch=bytes(16))
        systems = ("annex", self.annex, (A1, A2, M1))
        self.keys = desk_of(self.ledger, building.clock, systems, deadline_s=5.0)
        self.remote = RemoteDesk(
            systems_of(systems, deadline_s=5.0),
            property_id="aurora",
            ledger=self.ledger,
            time=building.time,
            clock=building.clock,
            sealed=building.closing.is_sealed,
            news=self.keys.news.set,
            metrics=Metrics("remote"),
        )
        self.methods = VendorMethods(
            self.keys,
            book=building.book,
            desk=building.desk,
            sealed=building.closing.is_sealed,
            remote=self.remote,
        )
        self.orders = ClosingMethods(building.closing, building.desk, told=lambda: None, keys=self.keys).methods()

    def restart(self) -> None:
        """End the run, at any moment, and begin another."""
        self.ledger.close()
        self.open()

    async def stay(self, stay: str, phone: MemoryPhone, *rooms: str, begins_ms: int = 0, **more: Any) -> OpensAfar:
        """Give a phone the keys of a stay; return what it names to open them."""
        now_ms = self.building.clock.wall_ms()
        args = {
            "stay": stay,
            "rooms": list(rooms),
            "phone_public_key": phone.public.hex(),
            "not_before_ms": now_ms + begins_ms,
            "not_after_ms": now_ms + DAY_MS,
            **more,
        }
        told: Any = await self.methods.issue(args, issued=lambda: None)
        [key] = vendor_keys_of(told)
        assert key.opens is not None
        return key.opens

    def request(self, phone: MemoryPhone, opens: OpensAfar, door: str = "annex-a1", **changes: Any) -> bytes:
        """Return what the phone signs now."""
        parts = {
            "request_id": self.dice.bytes(16),
            "issued_at_ms": self.building.clock.wall_ms(),
            "property_id": opens.property_id,
            "grant": opens.grant,
            "door": door,
        }
        return signed(phone.key, statement_of(**{**parts, **changes}))

    def told(self) -> list[tuple[str, str | None]]:
        """Return the access records of the openings: what happened, and why not."""
        return [(body["event"], body.get("reason")) for _, body, _ in self.ledger.events(0, 100)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.ledger.close()
    made.building.store.close()


def refused(answer: OpenAnswer) -> str | None:
    assert answer.outcome is OpenOutcome.REFUSED
    return answer.reason


async def test_a_guests_own_word_opens_the_door_once_and_is_written_down_before_and_after(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1, A2)
    assert (opens.property_id, opens.truth) == ("aurora", "online-confirmed")
    assert opens.doors == (("annex-a1", A1), ("annex-a2", A2))
    request = site.request(anna, opens)
    assert await site.remote.open(request) == OpenAnswer(OpenOutcome.CONFIRMED)
    assert (site.annex.opened, site.annex.moved) == (1, ["annex-a1"])
    bodies = [body for _, body, _ in site.ledger.events(0, 100)]
    assert [each["event"] for each in bodies] == ["remote-asked", "remote-opened"]
    for body in bodies:
        assert (body["door"], body["room"], body["stay"], body["grant"]) == ("annex-a1", A1, "s-anna", opens.grant)
        assert (body["system"], body["request"]) == ("annex", request[1:17].hex())
    assert bodies[1]["truth"] == "online-confirmed"


async def test_a_record_is_durable_before_the_motor_is_asked(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    before: list[list[tuple[str, str | None]]] = []
    site.annex.when_opened = lambda: before.append(site.told())
    await site.remote.open(site.request(anna, opens))
    assert before == [[("remote-asked", None)]]


async def test_what_the_cloud_makes_up_opens_nothing_and_writes_nothing(site: Site) -> None:
    anna, mallory = site.building.phone("anna"), site.building.phone("mallory")
    opens = await site.stay("s-anna", anna, A1)
    good = site.request(anna, opens)
    forged = site.request(mallory, opens)
    for wrong, why in (
        (forged, OpenRefusal.BAD_SIGNATURE),
        (good[:-64] + bytes(64), OpenRefusal.BAD_SIGNATURE),
        (good[:-64] + forged[-64:], OpenRefusal.BAD_SIGNATURE),
        (site.request(anna, opens, property_id="borealis"), OpenRefusal.WRONG_PROPERTY),
        (site.request(anna, opens, grant="ik-000000000000000000000000"), OpenRefusal.UNKNOWN_KEY),
        (b"", OpenRefusal.MALFORMED),
        (good[:-1], OpenRefusal.MALFORMED),
        (b"\x02" + good[1:], OpenRefusal.UNSUPPORTED_VERSION),
    ):
        assert refused(await site.remote.open(wrong)) == why.value
    assert (site.annex.opened, site.told()) == (0, [])
    assert (await site.remote.open(good)).outcome is OpenOutcome.CONFIRMED, "and nobody's turn was used up"


async def test_another_guests_key_is_of_no_use_to_this_one(site: Site) -> None:
    anna, ben = site.building.phone("anna"), site.building.phone("ben")
    of_anna, of_ben = await site.stay("s-anna", anna, A1), await site.stay("s-ben", ben, A2)
    assert refused(await site.remote.open(site.request(ben, of_anna))) == "bad_signature"
    assert refused(await site.remote.open(site.request(ben, of_ben, "annex-a1"))) == "wrong_door"
    assert refused(await site.remote.open(site.request(ben, of_ben, "door-102"))) == "wrong_door"
    assert site.annex.opened == 0
    assert (await site.remote.open(site.request(ben, of_ben, "annex-a2"))).outcome is OpenOutcome.CONFIRMED


async def test_the_same_request_opens_once_in_this_run_and_in_the_next(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    ahead_ms = site.building.clock.wall_ms() + AHEAD_MOST_MS
    now, ahead = site.request(anna, opens), site.request(anna, opens, issued_at_ms=ahead_ms)
    for request in (now, ahead):
        assert (await site.remote.open(request)).outcome is OpenOutcome.CONFIRMED
        assert refused(await site.remote.open(request)) == "replayed"
    site.building.clock.advance(1_000)
    site.restart()
    assert refused(await site.remote.open(now)) == "before_start"
    assert refused(await site.remote.open(ahead)) == "replayed", "a phone's clock that is ahead changes nothing"
    assert site.annex.opened == 2
    assert site.told().count(("remote-refused", "replayed")) == 2, "once for each request"


async def test_a_file_that_was_lost_with_what_it_knew_of_used_requests_opens_nothing_twice(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    request = site.request(anna, opens)
    await site.remote.open(request)
    site.building.clock.advance(1_000)
    site.ledger.close()
    for each in site.path.parent.glob("vendor-keys.db*"):
        each.unlink()
    site.open()
    assert (await site.stay("s-anna", anna, A1)).grant == opens.grant, "found again under the same name"
    assert refused(await site.remote.open(request)) == "before_start"
    assert site.annex.opened == 1


async def test_late_is_late_and_a_phone_whose_clock_is_ahead_is_told(site: Site) -> None:
    anna, clock = site.building.phone("anna"), site.building.clock
    opens = await site.stay("s-anna", anna, A1)
    late = site.request(anna, opens)
    clock.advance(LATE_AFTER_MS)
    just = site.request(anna, opens, issued_at_ms=clock.wall_ms() - LATE_AFTER_MS)
    assert (await site.remote.open(just)).outcome is OpenOutcome.CONFIRMED
    clock.advance(1)
    assert refused(await site.remote.open(late)) == "late"
    ahead = site.request(anna, opens, issued_at_ms=clock.wall_ms() + AHEAD_MOST_MS + 1)
    assert refused(await site.remote.open(ahead)) == "ahead"
    assert site.annex.opened == 1


async def test_a_house_that_does_not_know_the_time_opens_nothing_from_afar(site: Site) -> None:
    anna, clock = site.building.phone("anna"), site.building.clock
    opens = await site.stay("s-anna", anna, A1)
    clock.quality = ClockQuality.UNCERTAIN
    assert refused(await site.remote.open(site.request(anna, opens))) == "time_uncertain"
    clock.quality = ClockQuality.SYNCHRONISED
    await site.stay("s-anna", anna, A1, M1)  # signs a grant of ours: the house has been here
    clock.step_wall(-3_600_000)
    assert refused(await site.remote.open(site.request(anna, opens))) == "time_uncertain"
    assert site.annex.opened == 0


async def test_a_clock_set_back_a_little_does_not_make_an_old_request_young(site: Site) -> None:
    """What is signed with is never behind what was signed before; what is judged with is the clock as it runs."""
    anna, clock = site.building.phone("anna"), site.building.clock
    opens = await site.stay("s-anna", anna, A1, M1)  # signs a grant of ours: the mark
    clock.step_wall(-60_000)
    request = site.request(anna, opens)
    clock.advance(LATE_AFTER_MS + 1)
    assert refused(await site.remote.open(request)) == "late"


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("ending", ["check-out", "withdrawn", "inhibited", "moved"])
async def test_a_right_that_was_taken_away_opens_nothing_from_that_moment_on(site: Site, ending: str) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    signed_before = site.request(anna, opens)
    site.annex.errors = [VendorFaultError("annex: down")] * 9  # the vendor does not hear of it for now
    by = {"by": "desk", "reason": "test"}
    match ending:
        case "check-out":
            await site.methods.end_stay("s-anna")
        case "withdrawn":
            await site.orders["withdraw_key"]({"stay": "s-anna", "phone_public_key": anna.public.hex(), **by})
        case "inhibited":
            site.keys.end_room(RoomId(A1))
        case _:
            site.annex.errors = []
            now_ms = site.building.clock.wall_ms()
            args = {"stay": "s-anna", "rooms": ["102"], "phone_public_key": anna.public.hex()}
            window = {"not_before_ms": now_ms, "not_after_ms": now_ms + DAY_MS}
            await site.methods.issue({**args, **window}, issued=lambda: None)
    assert refused(await site.remote.open(signed_before)) == "ended"
    assert refused(await site.remote.open(site.request(anna, opens))) == "ended"
    assert site.annex.opened == 0


async def test_a_key_opens_in_its_time_and_in_no_other(site: Site) -> None:
    anna, clock = site.building.phone("anna"), site.building.clock
    opens = await site.stay("s-anna", anna, A1, begins_ms=3_600_000)
    assert refused(await site.remote.open(site.request(anna, opens))) == "not_yet_valid"
    clock.advance(3_600_000)
    assert (await site.remote.open(site.request(anna, opens))).outcome is OpenOutcome.CONFIRMED
    clock.advance(DAY_MS - 3_600_000)
    assert refused(await site.remote.open(site.request(anna, opens))) == "expired"


async def test_a_key_that_the_vendor_has_not_made_yet_is_a_right_and_one_that_he_refused_is_none(site: Site) -> None:
    anna, ben = site.building.phone("anna"), site.building.phone("ben")
    site.annex.errors = [VendorFaultError("annex: down")] * 9
    opens = await site.stay("s-anna", anna, A1)
    site.annex.errors = []
    assert (await site.remote.open(site.request(anna, opens))).outcome is OpenOutcome.CONFIRMED
    of_ben = await site.stay("s-ben", ben, A2)
    site.annex.errors = [VendorRefusedError("annex: no such door")]
    key = site.ledger.key(of_ben.grant)
    assert key is not None
    now_ms = site.building.clock.wall_ms()
    await site.keys.issue(
        "s-ben", [RoomId(A2)], not_before_ms=now_ms, not_after_ms=now_ms + 2 * DAY_MS, holder=key.holder
    )
    assert refused(await site.remote.open(site.request(ben, of_ben, "annex-a2"))) == "not_made"


async def test_a_sealed_room_stays_sealed(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, M1)
    order = Order("security", "police")
    site.building.closing.lock_out(order, RoomId(M1), sealed=True)
    assert refused(await site.remote.open(site.request(anna, opens, "annex-101"))) == "locked_out"
    site.building.closing.lock_out(order, RoomId(M1), sealed=False)
    assert (await site.remote.open(site.request(anna, opens, "annex-101"))).outcome is OpenOutcome.CONFIRMED


async def test_a_system_that_opens_nothing_from_afar_is_neither_offered_nor_asked(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    site.annex.opens = None
    assert refused(await site.remote.open(site.request(anna, opens))) == "no_remote_opening"
    assert site.annex.opened == 0
    [key] = site.keys.of_stay("s-anna")
    assert "opens" not in site.keys.told(key).to_document()


async def test_a_key_whose_phone_is_not_known_is_not_offered(site: Site) -> None:
    now_ms = site.building.clock.wall_ms()
    [key] = await site.keys.issue("s-card", [RoomId(A1)], not_before_ms=now_ms, not_after_ms=now_ms + DAY_MS)
    assert site.keys.told(key).opens is None
    anna = site.building.phone("anna")
    made_up = OpensAfar("aurora", key.grant, "online-confirmed", (("annex-a1", A1),))
    assert refused(await site.remote.open(site.request(anna, made_up))) == "unknown_key"


async def test_no_second_phone_takes_the_place_of_the_first_under_its_name(site: Site) -> None:
    anna = site.building.phone("anna")
    await site.stay("s-anna", anna, A1)
    key = site.keys.of_stay("s-anna")[0]
    now_ms = site.building.clock.wall_ms()
    with pytest.raises(InvalidInputError, match="another phone"):
        await site.keys.issue(
            "s-anna",
            [RoomId(A1)],
            not_before_ms=now_ms,
            not_after_ms=now_ms + DAY_MS,
            holder=key.holder,
            phone=site.building.phone("ben").public,
        )
    assert site.ledger.phone("s-anna", key.holder) == anna.public


async def test_a_guest_is_never_locked_out_by_asking_and_by_nobody_else_s_asking(site: Site) -> None:
    anna, mallory = site.building.phone("anna"), site.building.phone("mallory")
    opens = await site.stay("s-anna", anna, A1)
    for _ in range(50):
        await site.remote.open(site.request(mallory, opens))
    spent = site.request(anna, opens)
    for _ in range(TURNS_MOST):
        assert (await site.remote.open(spent)).outcome is OpenOutcome.CONFIRMED
        assert refused(await site.remote.open(spent)) == "replayed"
        spent = site.request(anna, opens)
    for _ in range(50):
        assert refused(await site.remote.open(site.request(anna, opens))) == "busy"
    site.building.clock.advance(TURN_EACH_MS)
    assert (await site.remote.open(site.request(anna, opens))).outcome is OpenOutcome.CONFIRMED, "asking cost no turn"


@pytest.mark.parametrize(
    ("error", "outcome", "event"),
    [
        (VendorBusyError("annex: busy", 2_000), OpenOutcome.BUSY, "remote-failed"),
        (VendorRefusedError("annex: no"), OpenOutcome.NO, "remote-failed"),
        (VendorRefusedError("annex: off line", NO_REMOTE_OPENING), OpenOutcome.OFF_LINE, "remote-failed"),
        (LinkLostError("annex: gone"), OpenOutcome.OFF_LINE, "remote-failed"),
        (VendorFaultError("annex: broke"), OpenOutcome.UNKNOWN, "remote-unknown"),
        (ReplyTimeoutError("annex: silent"), OpenOutcome.UNKNOWN, "remote-unknown"),
        (PeerProtocolError("annex: nonsense"), OpenOutcome.UNKNOWN, "remote-unknown"),
    ],
    ids=str,
)
async def test_what_the_vendor_says_is_said_no_better_than_it_is_and_asked_once(
    site: Site, error: PlatformError, outcome: OpenOutcome, event: str
) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    site.annex.errors = [error]
    request = site.request(anna, opens)
    assert await site.remote.open(request) == OpenAnswer(outcome, str(error))
    assert refused(await site.remote.open(request)) == "replayed", "whatever came of it"
    assert site.annex.opened == 1
    assert site.told()[:2] == [("remote-asked", None), (event, str(error))]


async def test_a_vendor_that_never_answers_is_waited_for_as_long_as_the_request_is_good(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    site.annex.silent = True
    site.building.clock.advance(LATE_AFTER_MS)
    request = site.request(anna, opens, issued_at_ms=site.building.clock.wall_ms() - LATE_AFTER_MS + 20)
    answer = await site.remote.open(request)
    assert (answer.outcome, answer.reason) == (OpenOutcome.UNKNOWN, "annex: no answer in time")
    assert site.told()[-1] == ("remote-unknown", "annex: no answer in time")


async def test_a_door_that_is_being_opened_is_not_opened_beside_it(site: Site) -> None:
    anna, ben = site.building.phone("anna"), site.building.phone("ben")
    of_anna = await site.stay("s-anna", anna, A1)
    of_ben = await site.stay("s-anna", ben, A1, join=True)
    asked, go = asyncio.Event(), asyncio.Event()
    site.annex.when_opened, site.annex.door_gate = asked.set, go
    first = asyncio.create_task(site.remote.open(site.request(anna, of_anna)))
    await asked.wait()
    assert refused(await site.remote.open(site.request(ben, of_ben))) == "busy"
    go.set()
    assert (await first).outcome is OpenOutcome.CONFIRMED
    assert (await site.remote.open(site.request(ben, of_ben))).outcome is OpenOutcome.CONFIRMED


async def test_a_run_that_ends_while_the_vendor_is_asked_leaves_unknown_and_opens_nothing_again(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    asked = asyncio.Event()
    site.annex.when_opened, site.annex.door_gate = asked.set, asyncio.Event()
    request = site.request(anna, opens, issued_at_ms=site.building.clock.wall_ms() + 2_000)
    opening = asyncio.create_task(site.remote.open(request))
    await asked.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert site.told() == [("remote-asked", None)]
    site.restart()
    assert site.told() == [("remote-asked", None), ("remote-unknown", INTERRUPTED)]
    assert refused(await site.remote.open(request)) == "replayed"
    site.restart()
    assert site.told().count(("remote-unknown", INTERRUPTED)) == 1
    assert site.annex.opened == 1


async def test_a_file_of_before_is_taken_over_and_its_keys_open_once_their_phones_ask_again(site: Site) -> None:
    anna = site.building.phone("anna")
    opens = await site.stay("s-anna", anna, A1)
    site.ledger.close()
    old = apsw.Connection(str(site.path))
    old.execute("DROP TABLE phone; DROP TABLE opening; PRAGMA user_version = 3")
    old.close()
    site.open()
    assert refused(await site.remote.open(site.request(anna, opens))) == "unknown_key"
    assert await site.stay("s-anna", anna, A1) == opens
    assert (await site.remote.open(site.request(anna, opens))).outcome is OpenOutcome.CONFIRMED


async def test_a_phone_is_forgotten_with_the_last_of_its_keys(site: Site) -> None:
    anna, ben = site.building.phone("anna"), site.building.phone("ben")
    opens = await site.stay("s-anna", anna, A1)
    await site.remote.open(site.request(anna, opens))
    await site.methods.end_stay("s-anna")
    await site.keys.heal_once()
    site.building.clock.advance(ENDED_KEPT_MS + 1)
    of_ben = await site.stay("s-ben", ben, A1)
    [of_anna] = site.keys.of_stay("s-anna")
    assert site.ledger.phone("s-anna", of_anna.holder) == anna.public
    await site.keys.heal_once()
    assert site.ledger.phone("s-anna", of_anna.holder) is None
    assert refused(await site.remote.open(site.request(anna, opens))) == "unknown_key"
    assert (await site.remote.open(site.request(ben, of_ben))).outcome is OpenOutcome.CONFIRMED


def test_no_other_room_of_the_node_has_a_way_to_open_a_foreign_door_unsigned() -> None:
    """What the cloud, a screen or a rule can reach never names the unsigned opening; the doors process alone does."""
    callers = {
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "edge").rglob("*.py"))
        for node in ast.walk(syntax(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "open_door"
    }
    assert callers == {
        "edge/doors/vendor_methods.py", "edge/doors/vendors/desk.py", "edge/doors/vendors/remote_desk.py",
    }  # fmt: skip
