"""What a kiosk did while its house was cut off becomes steps of the check-in session: late, doubled, in any order."""

import itertools
from collections.abc import Sequence
from typing import Any, Final

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cloud.app.projections import PROJECTIONS
from cloud.checkin.judgement import REVIEW, Verdict
from cloud.checkin.late_facts import DIFFERS, OFFLINE, counts, merged
from cloud.checkin.late_steps import TOLD, LateSteps
from cloud.checkin.sessions import LIFE_MS
from cloud.checkin.steps import StepState
from cloud.kit.outbox import Relay, backlog
from cloud.kit.times import at, iso
from cloud.payments.payments import CHANGED
from cloud.stays.reservation import PmsStatus
from cloud.telemetry.ports import BatchContext
from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record
from protocols.policy.check_in import Deposit, StepKind
from tests.cloud.checkin.front_desk import HERE, POLICY, STAY, Desk, single
from tests.cloud.checkin.zones import passport
from tests.cloud.houses import AURORA, HOUR_MS, NOW_MS
from tests.cloud.public.conftest import Site
from tests.cloud.public.conftest import site as site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("CHK-02", "DEV-12"), pytest.mark.guarantee("G2")]
EDGE: Final = EdgeId(AURORA.edge)
DOCUMENT: Final[dict[str, Any]] = {
    "format": "td3", "code": "P", "issuing_state": "AUT", "expires": "2030-01-01", "name": "same",
    "picture_kept": False,
}  # fmt: skip


class Line:
    """The line of the house's edge, when it is there again: its records come in, and what follows is done."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.seq = desk, itertools.count(1)
        late = LateSteps(desk.site.sessions)
        self.relay = Relay(
            desk.site.database,
            subscribers={TOLD: (late.on_told,), CHANGED: (late.on_payment,)},
            clock=desk.site.clock,
            log=structlog.get_logger("test"),
        )

    async def brings(self, *told: tuple[str, dict[str, Any]]) -> None:
        now_ms = self.desk.site.clock.wall_ms()
        context = BatchContext("northlight", "aurora", EDGE, b"i" * 16, Lane.A, now_ms)
        async with self.desk.site.database.transaction() as connection:
            for kind, body in told:
                record = Record(Lane.A, next(self.seq), kind, body, None, NOW_MS, 0, ClockQuality.SYNCHRONISED)
                for project in PROJECTIONS[kind]:
                    await project(connection, context, [record])
        await self.relay.drain()
        async with self.desk.site.database.transaction() as connection:
            waiting = await backlog(connection)
        assert (waiting.waiting, waiting.parked) == (0, 0)


@pytest.fixture
async def desk(site: Site) -> Desk:
    house = Desk(site)
    await house.book()
    await house.policy()
    return house


def step(kind: str, state: str = "done", reason: str | None = None, **evidence: Any) -> dict[str, Any]:
    why = {} if reason is None else {"reason": reason}
    subject = "party" if kind in ("terms", "payment") else "g1"
    return {"step": kind, "subject": subject, "state": state, "at_ms": NOW_MS + 1_000, **evidence, **why}


IDENTITY, SHOWN = step("identity", name="same"), step("document", **DOCUMENT)
LEFT = [step("registration_card", "needs_staff", OFFLINE), step("terms", "needs_staff", OFFLINE)]


def visit(*steps: dict[str, Any], name: str = "kv-1", n: int = 1) -> tuple[str, dict[str, Any]]:
    return "kiosk", {"kind": "visit", "id": name, "n": n, "by": "kiosk:lobby", "stay": STAY, "steps": list(steps)}


CAME = ("stay", {"stay": STAY, "state": "checked_in", "room": "101", "by": "kiosk:lobby", "at_ms": NOW_MS + 2_000})
PHONE_KEY = (
    "kiosk",
    {"kind": "phone", "id": "kp-1", "by": "kiosk:lobby", "stay": STAY, "room": "101", "at_ms": NOW_MS + 2_000},
)


def card(phase: str = "done", *, written: bool = True, name: str = "kiosk-1") -> tuple[str, dict[str, Any]]:
    body = {"kind": "key", "id": name, "device": "d", "by": "kiosk:lobby", "stay": STAY, "phase": phase}
    return "kiosk", {**body, "asked_at_ms": NOW_MS, "room": "101", **({"written": True} if written else {})}


async def session(desk: Desk) -> dict[str, Any]:
    answer = await desk.site.http.get(f"{HERE}/session", headers=desk.site.as_("staff"))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def stands(desk: Desk) -> dict[str, str]:
    told = await session(desk)
    return {each["step"]: each["reason"] or each["state"] for each in told["steps"]}


async def evidence(desk: Desk) -> dict[str, dict[str, Any]]:
    answer = await desk.site.http.get(f"{HERE}/session/people", headers=desk.site.as_("staff"))
    return {each["step"]: each for each in answer.json()["evidence"]}


async def waiting(desk: Desk) -> list[list[tuple[str, str]]]:
    answer = await desk.site.http.get("/api/v1/properties/aurora/hand-overs", headers=desk.site.as_("staff"))
    return [[(step["step"], step["reason"]) for step in each["steps"]] for each in answer.json()["hand_overs"]]


async def events(desk: Desk) -> list[tuple[str, Any, Any]]:
    rows = await desk.rows("SELECT type, body FROM outbox.event WHERE starts_with(type, 'checkin.') ORDER BY id")
    return [
        (each["type"], each["body"].get("step"), each["body"].get("reason")) for each in rows if each["type"] != TOLD
    ]


@pytest.mark.parametrize("key", [PHONE_KEY, card()], ids=["phone", "card"])
async def test_a_visit_becomes_steps_with_evidence_actor_and_time_and_the_rest_is_the_desks(
    desk: Desk, key: tuple[str, dict[str, Any]]
) -> None:
    line = Line(desk)
    desk.site.clock.advance(3 * HOUR_MS)
    await line.brings(visit(IDENTITY, SHOWN), CAME, key)
    told = await session(desk)
    assert (told["state"], told["channel"], told["waits_for"]) == ("open", "kiosk", "staff")
    assert await stands(desk) == {
        "identity": "done", "document": "done", "registration_card": OFFLINE, "terms": OFFLINE, "room": "done",
        "grant": "done",
    }  # fmt: skip
    kept = await evidence(desk)
    assert {(each["actor"], each["channel"]) for each in kept.values()} == {("kiosk:lobby", "kiosk")}
    assert kept["identity"]["at"] == iso(at(NOW_MS + 1_000)), "when it was done, not when it was told"
    assert kept["document"]["evidence"] == DOCUMENT
    assert kept["grant"]["evidence"]["form"] == ("phone" if key is PHONE_KEY else "card")
    assert await waiting(desk) == [[("registration_card", OFFLINE), ("terms", OFFLINE)]]
    before = await events(desk)
    await line.brings(visit(IDENTITY, SHOWN), CAME, key)
    assert (await events(desk), await evidence(desk)) == (before, kept), "told twice, it is done once"
    for kind, subject in (("registration_card", "g1"), ("terms", "party")):
        body = {"step": kind, "subject": subject, "reason": "signed on paper"}
        done = await desk.post(f"{HERE}/session/waivers", body, desk.site.as_("staff"))
        assert done.status_code == 200, done.text
    assert (done.json()["state"], await waiting(desk)) == ("completed", [])
    assert [each[0] for each in await events(desk)][-1] == "checkin.completed"
    await line.brings(visit(IDENTITY, SHOWN), key)
    assert (await stands(desk))["terms"] == "signed on paper"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_in_whatever_order_it_comes_it_comes_to_the_same(desk: Desk, order: Sequence[int]) -> None:
    line, told = Line(desk), [visit(IDENTITY, SHOWN, *LEFT), CAME, PHONE_KEY]
    for each in order:
        await line.brings(told[each], told[each])
    assert await stands(desk) == {
        "identity": "done", "document": "done", "registration_card": OFFLINE, "terms": OFFLINE, "room": "done",
        "grant": "done",
    }  # fmt: skip
    assert len(await waiting(desk)) == 1
    if order.index(0) < order.index(2):  # as the lane has them
        assert len(await events(desk)) == 6, "begun, three done, two for staff"


async def on_the_web(desk: Desk, mrz: str) -> dict[str, str]:
    guest = await desk.link()
    await desk.post(f"{HERE}/session", {}, guest)
    assert (await desk.anna(guest)).status_code == 200
    shown = await desk.post(f"{HERE}/session/guests/g1/document", {"mrz": mrz}, guest)
    assert shown.status_code == 200, shown.text
    return guest


@pytest.mark.parametrize("web_first", [True, False])
@pytest.mark.parametrize(
    ("mrz", "steps", "came_to"),
    [
        (passport(), [IDENTITY, SHOWN], "done"),
        (passport(), [step("identity", "needs_staff", "name_different", name="different")], "done"),
        (passport(state="D"), [IDENTITY, SHOWN], DIFFERS),
        (passport(given_names="Bertha"), [IDENTITY, SHOWN], "done"),
        (
            passport(given_names="Bertha"),
            [IDENTITY, step("document", "needs_staff", "document_expired", **DOCUMENT)],
            "name_different",
        ),
    ],
    ids=["the same", "another name at the kiosk", "another document", "mended at the kiosk", "right nowhere"],
)
async def test_a_session_that_went_on_meanwhile_is_settled_by_the_rule_whichever_is_first(
    desk: Desk, mrz: str, steps: list[dict[str, Any]], came_to: str, *, web_first: bool
) -> None:
    line = Line(desk)
    if web_first:
        await on_the_web(desk, mrz)
        await line.brings(visit(*steps))
    else:
        await line.brings(visit(*steps))
        await on_the_web(desk, mrz)
    assert ((await stands(desk))["identity"], (await stands(desk))["document"]) == ("done", came_to)
    kept = (await evidence(desk))["document"]["evidence"]
    if len(steps) == 2:
        assert kept["kiosk"]["by"] == "kiosk:lobby", "both are shown"
        assert kept["here"]["channel"] == "web"
    assert (came_to == "done") == (await waiting(desk) == [])


async def test_what_staff_decided_stands_and_what_staff_is_to_review_as_well(desk: Desk) -> None:
    line, staff = Line(desk), desk.site.as_("staff")
    await desk.post(f"{HERE}/session", {}, await desk.link())
    body = {"step": "identity", "subject": "g1", "reason": "known to the house"}
    assert (await desk.post(f"{HERE}/session/waivers", body, staff)).status_code == 200
    await line.brings(visit(step("identity", "needs_staff", "minor_alone"), SHOWN), PHONE_KEY)
    assert (await stands(desk))["identity"] == "known to the house"
    assert (await evidence(desk))["identity"]["actor"] == "staff"


async def test_another_answer_on_the_web_undoes_what_was_said_there_and_not_what_the_kiosk_saw(desk: Desk) -> None:
    line = Line(desk)
    guest = await on_the_web(desk, passport())
    await line.brings(visit(IDENTITY, SHOWN))
    told = await desk.anna(guest, {"surname": "Meier", "given_names": "Zoe"})
    assert told.status_code == 200
    assert (await stands(desk))["identity"] == "done"
    kept = await evidence(desk)
    assert (kept["document"]["channel"], kept["document"]["evidence"]) == ("kiosk", DOCUMENT)
    assert kept["identity"]["evidence"]["here"]["reason"] == "name_different"


@pytest.mark.parametrize(
    ("key", "grant"),
    [
        (card("failed"), "card_at_desk"),
        (card("unknown"), "card_at_desk"),
        (card("failed", written=False), "open"),
    ],
)
async def test_a_card_that_did_not_surely_come_is_the_desks(
    desk: Desk, key: tuple[str, dict[str, Any]], grant: str
) -> None:
    line = Line(desk)
    await line.brings(visit(IDENTITY, SHOWN), key)
    told = await stands(desk)
    assert (told["grant"], told["terms"]) == (grant, "open")
    await line.brings(card(name="kiosk-2"), key)
    assert (await stands(desk))["grant"] == "done", "another order gave him one"


async def test_of_one_visit_the_later_word_counts_and_of_two_the_one_that_has_it_done(desk: Desk) -> None:
    line, wrong = Line(desk), step("identity", "needs_staff", "name_different")
    await line.brings(visit(wrong, n=2), visit(IDENTITY, n=1))
    assert (await stands(desk))["identity"] == "name_different"
    await line.brings(visit(IDENTITY, name="kv-2"))
    await line.brings(visit(wrong, n=3))
    assert (await stands(desk))["identity"] == "done"


@pytest.mark.requirement("CHK-08")
async def test_a_deposit_left_to_the_desk_that_is_paid_by_now_is_left_to_it_no_longer(desk: Desk) -> None:
    await desk.policy(
        type(POLICY)(v=1, jurisdiction="AUT", steps=(StepKind.PAYMENT, *POLICY.steps[-2:]), deposit=Deposit("EUR", 100))
    )
    line = Line(desk)
    await line.brings(visit(step("payment", "needs_staff", OFFLINE)), CAME)
    assert await waiting(desk) == [[("payment", OFFLINE)]]
    async with desk.site.database.transaction() as connection:
        assert await desk.site.sessions.wants_deposit(connection, (await session(desk))["id"])
    guest = await desk.link()
    page = await desk.post(f"{HERE}/session/payment/page", {"language": "en"}, guest)
    assert page.status_code == 200, page.text
    [id_] = desk.site.stripe.pages
    desk.site.stripe.pays(id_, "pm_card_visa")
    await desk.post(f"{HERE}/session/payment/look", {}, guest)
    assert (await stands(desk))["payment"] == "done"
    await line.brings()
    assert await waiting(desk) == []
    await line.brings(PHONE_KEY)
    assert (await session(desk))["state"] == "completed"


async def test_a_guest_whom_the_desk_took_in_off_line_has_his_key_by_its_word(desk: Desk) -> None:
    line = Line(desk)
    by_desk = (CAME[0], {**CAME[1], "by": "Frau Maier"})
    await line.brings(by_desk)
    assert await desk.rows("SELECT id FROM checkin.session") == [], "who had no check-in here has none now"
    await line.brings(visit(*LEFT), by_desk)
    told = await stands(desk)
    assert (told["grant"], told["identity"], told["document"]) == ("done", OFFLINE, OFFLINE)
    assert (await evidence(desk))["grant"]["actor"] == "Frau Maier"
    assert len((await waiting(desk))[0]) == 4
    for by in ("pms", "cloud:staff", "cloud", "superseded by s-2"):
        await line.brings((CAME[0], {**CAME[1], "by": by}))
    assert await stands(desk) == told


@pytest.mark.parametrize("name", ["cloud", "cloudia", "kiosk:lobby", "superseded by nobody", "pms"])
async def test_a_person_at_the_desk_is_one_whatever_the_name(desk: Desk, name: str) -> None:
    line = Line(desk)
    await line.brings(visit(*LEFT), (CAME[0], {**CAME[1], "by": name, "by_kind": "desk"}))
    assert (await stands(desk))["grant"] == "done"
    assert (await evidence(desk))["grant"]["actor"] == name


@pytest.mark.parametrize("kind", ["cloud", "kiosk", "pms", "next_guest", "of a newer build"])
async def test_what_is_no_person_is_none_by_a_persons_name(desk: Desk, kind: str) -> None:
    line = Line(desk)
    await line.brings(visit(*LEFT), (CAME[0], {**CAME[1], "by": "Frau Maier", "by_kind": kind}))
    assert (await stands(desk))["grant"] == "open"


async def test_a_stay_that_is_over_by_then_has_its_steps_and_waits_for_nobody(desk: Desk) -> None:
    line = Line(desk)
    await desk.book(single(status=PmsStatus.LEFT, updated_ms=NOW_MS + 1))
    await line.brings(visit(IDENTITY, SHOWN, *LEFT), PHONE_KEY)
    told = await session(desk)
    assert (told["state"], await waiting(desk)) == ("expired", [])
    assert set(await evidence(desk)) == {"identity", "document", "registration_card", "terms", "grant"}


async def test_a_session_that_ended_meanwhile_is_followed_by_one_that_waits_for_the_desk(desk: Desk) -> None:
    line = Line(desk)
    await on_the_web(desk, passport())
    old = (await session(desk))["id"]
    await desk.book(single(departure_ms=NOW_MS + 5 * LIFE_MS, updated_ms=NOW_MS + 1))
    desk.site.clock.advance(LIFE_MS)
    await line.brings(visit(IDENTITY, SHOWN), CAME, PHONE_KEY)
    told = await session(desk)
    assert (told["id"] != old, told["state"]) == (True, "open")
    assert await waiting(desk) == [[("registration_card", OFFLINE), ("terms", OFFLINE)]]


@pytest.mark.guarantee("G8", "G19")
async def test_a_stay_that_nobody_knows_and_a_record_of_before_change_nothing(desk: Desk) -> None:
    line = Line(desk)
    kind, body = visit(IDENTITY)
    await line.brings((kind, {**body, "stay": "s-nobody"}), (kind, {"kind": "visit", "by": "kiosk", "stay": STAY}))
    await line.brings((kind, {"kind": "receipt", "id": "x", "phase": "done"}), (kind, {"kind": "new"}), (kind, {}))
    assert await desk.rows("SELECT id FROM checkin.session") == []


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "body",
    [
        {**visit()[1], "steps": [{**IDENTITY, "step": "blood"}]},
        {**visit()[1], "steps": [{**IDENTITY, "state": "waived"}]},
        {**visit()[1], "steps": [{**IDENTITY, "at_ms": 2**62}]},
        {**visit()[1], "steps": [{**IDENTITY, "deep": {"er": 1}}]},
        {**visit()[1], "steps": [IDENTITY] * 51},
        {**visit()[1], "steps": 7},
        {**visit(IDENTITY)[1], "n": -1},
        {**card()[1], "phase": "perhaps"},
        {**PHONE_KEY[1], "at_ms": "now"},
    ],
)
async def test_a_record_of_the_wrong_shape_is_refused_whole(desk: Desk, body: dict[str, Any]) -> None:
    with pytest.raises(PeerProtocolError, match="kiosk record"):
        await Line(desk).brings(("kiosk", body))
    assert await desk.rows("SELECT id FROM checkin.session") == []


VERDICTS = st.builds(
    Verdict,
    st.sampled_from([StepState.DONE, StepState.NEEDS_STAFF]),
    st.sampled_from([None, OFFLINE, "name_different"]),
    st.sampled_from([{}, {"code": "P"}, {"code": "I"}]),
)


@given(VERDICTS, VERDICTS)
def test_what_one_did_is_never_undone_by_what_the_other_could_not(here: Verdict, kiosk: Verdict) -> None:
    settled = merged(here, kiosk)
    done = [each for each in (here, kiosk) if each.state is StepState.DONE]
    differ = (
        len(done) == 2 and {"code"} <= here.evidence.keys() & kiosk.evidence.keys() and here.evidence != kiosk.evidence
    )
    assert (settled.state is StepState.DONE) == (bool(done) and not differ)
    assert (settled.reason == DIFFERS) == differ
    for staff in (Verdict(StepState.WAIVED, "paper"), Verdict(StepState.NEEDS_STAFF, REVIEW)):
        assert merged(staff, kiosk) is staff
    assert merged(None, kiosk) is kiosk


SAID = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["a", "b", "c"]),
        "n": st.integers(1, 3),
        "state": st.sampled_from(["done", "needs_staff"]),
        "reason": st.sampled_from([None, OFFLINE]),
    }
)


@given(SAID, SAID)
def test_of_two_words_of_kiosks_one_counts_at_most(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not (counts(one, other) and counts(other, one))
    assert not counts(one, one)
    assert counts(one, None)
