"""Every PMS adapter tells how a guest is written to, each against the emulator that speaks its wire."""

import asyncio
import copy
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.pms.contacts import Contacts, address
from cloud.pms.emulation.face import TAME, Credentials
from cloud.pms.emulation.hotel import ODD_CONTACTS
from cloud.pms.emulation.server import build
from cloud.pms.port import GuestContact, PmsBusyError, PmsFaultError, PmsRefusedError
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from tests.cloud.asgi import in_process
from tests.cloud.pms.vendors import VENDORS, Vendor
from tests.contract.test_pms_adapters import DAY_MS, HOUR_MS, NOON_MS, Bench, opened

pytestmark = [pytest.mark.requirement("CHK-06"), pytest.mark.requirement("GST-01")]
TELL_NO_LANGUAGE = ("cloudbeds", "ezee")
DECLARED = (PmsBusyError, PmsRefusedError, PmsFaultError, ReplyTimeoutError, LinkLostError, PeerProtocolError)
GUEST = "Anna.Berger+hotel@guest.invalid"


@pytest.fixture(params=VENDORS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with opened(VENDORS[request.param]) as made:
        yield made


def book(bench: Bench, *, email: str | None = GUEST, language: str | None = "de-AT") -> str:
    made = bench.add()
    guest = bench.hotel.customers[bench.hotel.reservation(made).account_id]
    guest.update(Email=email, PreferredLanguageCode=language)
    return made


def wanted(bench: Bench, email: str | None, language: str | None) -> GuestContact:
    return GuestContact(email, None if bench.adapter.system in TELL_NO_LANGUAGE else language)


@pytest.mark.requirement("GST-06")
@pytest.mark.requirement("GST-20")
async def test_a_guest_is_written_to_as_the_pms_says_at_that_moment(bench: Bench) -> None:
    made, other = book(bench), book(bench, email="other@guest.invalid", language="en")
    assert bench.adapter.capabilities.contacts
    assert await bench.adapter.contact(made) == wanted(bench, GUEST, "de")
    bench.clock.advance(60_000)
    assert await bench.adapter.contact(other) == wanted(bench, "other@guest.invalid", "en")
    bench.hotel.customers[bench.hotel.reservation(made).account_id].update(Email="new@guest.invalid")
    bench.clock.advance(60_000)
    assert await bench.adapter.contact(made) == wanted(bench, "new@guest.invalid", "de")


EXPECTED: tuple[tuple[str | None, str | None], ...] = (
    (None, None),
    (None, None),
    (None, "de"),
    (None, "de"),
    (None, "de"),
    (None, None),
    ("anna@guest.invalid", None),
    ("anna@guest.invalid", "zh"),
)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(("told", "meant"), list(zip(ODD_CONTACTS, EXPECTED, strict=True)))
async def test_what_people_type_into_a_pms_is_an_address_or_none(
    bench: Bench, told: tuple[str | None, str | None], meant: tuple[str | None, str | None]
) -> None:
    made = book(bench, email=told[0], language=told[1])
    assert await bench.adapter.contact(made) == wanted(bench, *meant)


async def test_a_reservation_that_is_not_there_is_refused_as_unknown(bench: Bench) -> None:
    book(bench)
    with pytest.raises(PmsRefusedError) as refused:
        await bench.adapter.contact("999")
    assert refused.value.status == 404


async def test_the_question_has_the_budget_of_all_others_and_waits_for_nothing(bench: Bench) -> None:
    made, told = book(bench), 0

    async def ask() -> None:
        nonlocal told
        for _ in range(1_000):
            await bench.adapter.contact(made)
            told += 1

    with pytest.raises(PmsBusyError) as busy:
        await ask()
    assert told > 0
    assert sum(bench.emulator.calls.values()) <= 160
    with pytest.raises(PmsBusyError):
        await bench.adapter.get([made])
    bench.clock.advance(busy.value.wait_ms)
    assert await bench.adapter.contact(made) == wanted(bench, GUEST, "de")


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("name", VENDORS)
async def test_on_a_bad_day_it_is_the_guests_address_or_an_error_by_name(name: str) -> None:
    bad = msgspec.structs.replace(TAME, fault=0.2, limited=0.1, cut=0.1, error_200=0.1, revoked=0.1)
    async with opened(VENDORS[name], bad) as bench:
        made, told, failures = book(bench), 0, list[str]()
        for _ in range(60):
            bench.clock.advance(120_000)
            try:
                found = await bench.adapter.contact(made)
            except DECLARED as error:
                failures.append("".join(traceback.format_exception(error)))
            else:
                told += 1
                assert found == wanted(bench, GUEST, "de")
        assert told > 0
        assert failures
        assert not [each for each in failures if "guest.invalid" in each]


async def test_new_guests_of_an_odd_day_are_odd() -> None:
    async with opened(VENDORS["mews"], msgspec.structs.replace(TAME, contact_odd=1.0)) as bench:
        found = {bench.hotel.customers[bench.hotel.reservation(bench.add()).account_id]["Email"] for _ in range(60)}
        assert found == {email for email, _ in ODD_CONTACTS}


@pytest.mark.parametrize("name", VENDORS)
async def test_whoever_runs_the_rehearsal_says_how_a_guest_is_written_to(name: str) -> None:
    async with AsyncExitStack() as stack:
        bench = await stack.enter_async_context(opened(VENDORS[name]))
        transport = in_process(build(bench.emulator))
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://pms.invalid"))
        body = {"last_name": "Berger", "email": "first@guest.invalid", "language": "fr"}
        assert (await http.post("/emulator/reservations", json=body)).status_code == 200
        [made] = bench.hotel.reservations
        assert (await bench.adapter.contact(made)) == wanted(bench, "first@guest.invalid", "fr")
        answer = await http.post(f"/emulator/reservations/{made}/contact", json={"email": "then@guest.invalid"})
        assert answer.status_code == 200
        bench.clock.advance(60_000)
        assert (await bench.adapter.contact(made)) == wanted(bench, "then@guest.invalid", None)
        assert (await http.post("/emulator/reservations/999/contact", json={})).status_code == 404


async def test_callers_reach_the_adapter_of_their_property_and_system(bench: Bench) -> None:
    made, system = book(bench), bench.adapter.system
    contacts = Contacts({("aurora", system): bench.adapter})
    assert await contacts.contact_of("aurora", system, made) == wanted(bench, GUEST, "de")
    asked = sum(bench.emulator.calls.values())
    assert await contacts.contact_of("borealis", system, made) is None
    assert await contacts.contact_of("aurora", "fias", made) is None
    assert sum(bench.emulator.calls.values()) == asked
    bench.clock.advance(60_000)
    with pytest.raises(PmsRefusedError) as refused:
        await contacts.contact_of("aurora", system, "999")
    assert refused.value.status == 404


class _Bending(httpx.AsyncBaseTransport):
    """Answers as another transport does, with nonsense in it; tokens are left alone."""

    def __init__(self, inner: httpx.AsyncBaseTransport, bend: Callable[[Any], Any]) -> None:
        self._inner, self._bend = inner, bend

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        content = await answer.aread()
        if "token" in request.url.path or not content:
            return httpx.Response(answer.status_code, content=content)
        return httpx.Response(answer.status_code, content=msgspec.json.encode(self._bend(msgspec.json.decode(content))))


def _places(told: object, at: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
    return [at, *(place for key, each in inner for place in _places(each, (*at, key)))]


def _bent(told: Any, changes: list[tuple[int, object]]) -> Any:
    for number, chosen in changes:
        places, nonsense = _places(told), copy.deepcopy(chosen)
        place = places[number % len(places)]
        if not place:
            told = nonsense
            continue
        holder = told
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = nonsense
    return told


NONSENSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=8)
    | st.sampled_from(["evil@guest.invalid\nBcc: x@y.invalid", "second@guest.invalid", "x" * 5_000, "404", "de_DE"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


async def _asked_of_nonsense(vendor: Vendor, changes: list[tuple[int, object]]) -> GuestContact | None:
    clock = ManualClock(wall_ms=NOON_MS)
    emulator = vendor.face(
        rooms=["101"],
        reservations=0,
        credentials=Credentials("client", "access"),
        clock=clock,
        dice=SeededDice(7),
        push=None,
        knobs=TAME,
    )
    made = emulator.hotel.add(
        room="101",
        start_ms=NOON_MS - HOUR_MS,
        end_ms=NOON_MS + DAY_MS,
        first_name="Anna",
        last_name="Berger",
        email=GUEST,
        language="de-AT",
    )
    transport = _Bending(in_process(build(emulator)), lambda told: _bent(told, changes))

    async def passing(seconds: float) -> None:
        clock.advance(max(1, round(seconds * 1_000)))

    async with httpx.AsyncClient(transport=transport) as http:
        try:
            return await vendor.adapter(http, clock, passing).contact(made.id)
        except DECLARED:
            return None


@settings(max_examples=25)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), NONSENSE), min_size=1, max_size=3))
@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.guarantee("G19")
def test_nonsense_anywhere_in_an_answer_is_an_error_by_name_or_an_address(
    name: str, changes: list[tuple[int, object]]
) -> None:
    found = asyncio.run(_asked_of_nonsense(VENDORS[name], changes))
    assert found is None or found.email is None or address(found.email) == found.email


def test_the_nonsense_leaves_something_to_find() -> None:
    untouched: list[tuple[int, object]] = []
    for name in VENDORS:
        found = asyncio.run(_asked_of_nonsense(VENDORS[name], untouched))
        assert found is not None
        assert found.email == GUEST
