"""The telemetry API: what was written is what is told, fenced, paged, streamed, with ages and how final it is."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cloud.kit.database import Connection
from cloud.kit.times import unix_ms
from cloud.telemetry import query_reader, query_routes
from cloud.telemetry.query import iso_of
from cloud.telemetry.store.port import Scalar
from kit.http import ProblemError
from tests.cloud.houses import BOREALIS, DAY_MS, HOUR_MS, NOW_MS
from tests.cloud.telemetry.query.conftest import Desk
from tests.cloud.telemetry.sending import show_live

pytestmark = pytest.mark.tier("postgres")
MINUTE_MS = 60_000
GETS = ("latest", "range", "lines", "aggregate")


async def tell_newest(desk: Desk, device: str, value: object, *, at_ms: int, received_ms: int = NOW_MS) -> None:
    body = {
        "room": "101", "device": device, "capability": "thermostat", "attribute": "local_temperature", "value": value,
        "unit": "°C", "quality": "good",
    }  # fmt: skip
    async with desk.database.transaction() as connection:
        await show_live(connection, body, at_ms=at_ms, received_ms=received_ms)


@pytest.mark.guarantee("G8")
async def test_another_tenants_series_do_not_exist_to_the_byte(desk: Desk) -> None:
    await desk.write(desk.reading(NOW_MS - 1, 1.0), desk.reading(NOW_MS - 1, 9.0, house=BOREALIS))
    await desk.settle()
    for what in GETS:
        absent = await desk.get(what, house="no-such-house")
        assert absent.status_code == 404
        for who in ("other", "narrow"):
            foreign = await desk.get(what, who)
            assert (foreign.status_code, foreign.content) == (absent.status_code, absent.content), (what, who)
        # a wrong argument tells a stranger nothing either
        assert (await desk.get(what, "other", since="nonsense")).content == absent.content
        assert (await desk.http.get(f"/api/v1/properties/aurora/telemetry/{what}")).status_code == 401
    told = await desk.ok("range")
    assert [point["value"] for point in told["points"]] == [1.0]


@pytest.mark.parametrize("what", GETS)
async def test_a_bad_argument_is_a_problem_that_names_it(desk: Desk, what: str) -> None:
    for arguments in ({"rom": "101"}, {"room": ""}, {"device": "x" * 81}):
        answer = await desk.get(what, **arguments)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert next(iter(arguments)) in answer.json()["detail"]
    path = f"/api/v1/properties/aurora/telemetry/{what}?room=1&room=2"
    assert (await desk.http.get(path, headers=desk.as_("viewer"))).json()["detail"] == "room: said twice"
    if what != "latest":
        assert "since" in (await desk.get(what, since="2026-11-18T10:00:00")).json()["detail"]
    else:
        for arguments in ({"limit": "0"}, {"cursor": "W10"}, {"cursor": "W251bGxd"}):
            assert (await desk.get(what, **arguments)).status_code == 400


@pytest.mark.guarantee("G17")
async def test_newest_values_have_ages_and_come_in_pages(desk: Desk) -> None:
    for n in range(5):
        await tell_newest(desk, f"thermostat-{n}", 20 + n, at_ms=NOW_MS - 7_000, received_ms=NOW_MS - 2_000)
    await tell_newest(desk, "thermostat-9", 1, at_ms=NOW_MS + 60_000)  # a clock ahead of ours
    seen: list[dict[str, Any]] = []
    arguments = {"limit": "2"}
    while True:
        page = await desk.ok("latest", **arguments)
        seen += page["values"]
        if page["next"] is None:
            break
        arguments["cursor"] = page["next"]
        await tell_newest(desk, "a-new-one", 0, at_ms=NOW_MS)  # before every page
    assert [each["device"] for each in seen] == [*(f"thermostat-{n}" for n in range(5)), "thermostat-9"]
    assert (seen[0]["age_ms"], seen[0]["heard_ms"], seen[0]["quality"]) == (7_000, 2_000, "good")
    assert seen[5]["age_ms"] == 0
    assert [each["device"] for each in (await desk.ok("latest", device="thermostat-3"))["values"]] == ["thermostat-3"]
    assert (await desk.ok("latest", capability="on_off"))["values"] == []


async def test_a_range_says_which_resolution_it_used_and_keeps_to_the_most(desk: Desk) -> None:
    start = NOW_MS - NOW_MS % HOUR_MS - 3 * HOUR_MS
    await desk.write(*(desk.reading(start + n * 10_000, n / 8) for n in range(1080)))  # three hours
    await desk.settle()
    span = {"since": iso_of(start), "until": iso_of(start + 3 * HOUR_MS)}
    fine = await desk.ok("range", **span, points="1080")
    assert (fine["resolution"], fine["chosen"], len(fine["points"]), fine["next"]) == ("raw", True, 1080, None)
    minutes = await desk.ok("range", **span, points="1079")
    assert (minutes["resolution"], len(minutes["buckets"]), minutes["next"]) == ("1m", 180, None)
    assert minutes["buckets"][0] == {
        "series": minutes["series"][0]["id"], "at": iso_of(start), "samples": 6, "flawed": 0, "least": 0.0,
        "most": 0.625, "mean": 0.3125, "first": 0.0, "last": 0.625,
    }  # fmt: skip
    quarters = await desk.ok("range", **span, points="179")
    assert (quarters["resolution"], len(quarters["buckets"])) == ("15m", 12)
    asked = await desk.ok("range", **span, points="500", resolution="raw")
    assert (asked["resolution"], asked["chosen"], len(asked["points"])) == ("raw", False, 500)
    seen = asked["points"]
    while asked["next"] is not None:
        await desk.write(desk.reading(start + 1, -1.0))  # late, before every page
        asked = await desk.ok("range", cursor=asked["next"], points="500")
        assert asked["resolution"] == "raw"
        seen += asked["points"]
    assert [point["value"] for point in seen] == [n / 8 for n in range(1080)]
    assert (await desk.ok("range", **span, room="102"))["points"] == []


@pytest.mark.parametrize("points", ["1", "2", "5", "100"])
async def test_pages_cross_days_and_weeks_without_a_reading(desk: Desk, points: str) -> None:
    ages_ms = [60 * DAY_MS, 59 * DAY_MS + 1, 59 * DAY_MS, 20 * DAY_MS, NOW_MS % DAY_MS + 1, NOW_MS % DAY_MS, 1]
    for device in ("meter-1", "meter-2"):
        await desk.write(*(desk.reading(NOW_MS - age_ms, age_ms, device=device) for age_ms in ages_ms))
    for resolution, count in (("raw", 14), ("1m", 10), ("15m", 10), ("1d", 8)):
        if resolution == "1m":
            await desk.settle()  # which lets the oldest readings go
        span = {"since": iso_of(NOW_MS - 300 * DAY_MS), "until": iso_of(NOW_MS), "resolution": resolution}
        told = await desk.ok("range", **span, points=points)
        seen = [*told["points"], *told["buckets"]]
        while told["next"] is not None:
            assert len(told["points"]) + len(told["buckets"]) == int(points)
            told = await desk.ok("range", cursor=told["next"], points=points)
            seen += [*told["points"], *told["buckets"]]
        places = [(each["at"], each["series"]) for each in seen]
        assert (resolution, len(seen), places) == (resolution, count, sorted(set(places)))


@pytest.mark.guarantee("G17")
async def test_what_may_still_change_and_what_is_gone_is_said(desk: Desk) -> None:
    start = NOW_MS - NOW_MS % HOUR_MS - 2 * HOUR_MS
    await desk.write(desk.reading(start, 1.0))
    span = {"since": iso_of(start), "until": iso_of(start + HOUR_MS)}
    assert (await desk.ok("range", **span, resolution="1m"))["unsettled_since"] == iso_of(start)
    await desk.settle()
    settled = await desk.ok("range", **span, resolution="1m")
    assert (settled["unsettled_since"], len(settled["buckets"])) == (None, 1)
    await desk.write(desk.reading(start + 30 * MINUTE_MS, None, quality="bad"))
    late = await desk.ok("aggregate", **span, resolution="1m")
    assert late["unsettled_since"] == iso_of(start + 30 * MINUTE_MS)
    await desk.settle()
    [amount] = (await desk.ok("aggregate", **span, resolution="1m"))["amounts"]
    assert (amount["samples"], amount["flawed"], amount["mean"]) == (1, 1, 1.0)
    desk.clock.advance(8 * DAY_MS)  # readings are kept for five days
    await desk.settle()
    gone = await desk.ok("range", **span, resolution="raw")
    assert gone["points"] == []
    assert gone["kept_since"] > iso_of(start)
    chosen = await desk.ok("range", **span)
    assert (chosen["resolution"], len(chosen["buckets"])) == ("1m", 2)  # readings are gone, minutes are not


@pytest.mark.parametrize(("what", "method"), [("aggregate", "aggregate"), ("range", "range")])
async def test_a_question_that_is_too_large_is_told_from_a_database_that_is_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str, method: str
) -> None:
    async def ponder(connection: Connection, *_question: object, **_more: object) -> None:
        await connection.execute("SET LOCAL statement_timeout = '10ms'")
        await connection.execute("SELECT pg_sleep(10)")

    await desk.write(desk.reading(NOW_MS - 1, 1.0))
    monkeypatch.setattr(desk.store, method, ponder)
    answer = await desk.get(what)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("since: the answer would take the database more than 30 s")


async def test_aggregates_by_what_series_have_in_common(desk: Desk) -> None:
    at_ms = NOW_MS - 10 * MINUTE_MS
    await desk.write(
        desk.reading(at_ms, 1.0), desk.reading(at_ms + 1, 3.0),
        desk.reading(at_ms, 10.0, device="meter-102", room="102"),
        desk.reading(at_ms, 2.0, device="extra-101"),
        desk.reading(at_ms, "cool", device="thermostat-101", capability="thermostat", attribute="system_mode"),
        desk.reading(at_ms + 5, "heat", device="thermostat-101", capability="thermostat", attribute="system_mode"),
    )  # fmt: skip

    async def told(by: str) -> list[tuple[object, ...]]:
        return [
            (each["room"], each["device"], each["attribute"], each["series"], each["samples"], each["most"],
             each["mean"])
            for each in (await desk.ok("aggregate", by=by))["amounts"]
        ]  # fmt: skip

    assert await told("property") == [
        (None, None, "active_power", 3, 4, 10.0, 4.0), (None, None, "system_mode", 1, 2, None, None),
    ]  # fmt: skip
    assert await told("room") == [
        ("101", None, "active_power", 2, 3, 3.0, 2.0), ("101", None, "system_mode", 1, 2, None, None),
        ("102", None, "active_power", 1, 1, 10.0, 10.0),
    ]  # fmt: skip
    assert {(device, mean) for _, device, _, _, _, _, mean in await told("device")} == {
        ("meter-101", 2.0), ("meter-102", 10.0), ("extra-101", 2.0), ("thermostat-101", None),
    }  # fmt: skip
    single = (await desk.ok("aggregate", device="thermostat-101"))["amounts"]
    assert [(each["first"], each["last"], each["unit"]) for each in single] == [("cool", "heat", "W")]
    assert (await desk.get("aggregate", by="floor")).status_code == 400


async def test_lines_are_the_points_and_end_with_their_number(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_reader, "PIECE", 7)
    start = NOW_MS - 3 * DAY_MS
    await desk.write(*(desk.reading(start + n * HOUR_MS, n, device=f"meter-{n % 2}") for n in range(72)))
    answer = await desk.get("lines", since=iso_of(start), until=iso_of(NOW_MS))
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert (lines[0]["type"], lines[0]["resolution"], lines[-1]) == ("start", "raw", {"type": "end", "points": 72})
    assert [each["value"] for each in lines if each["type"] == "point"] == list(range(72))
    assert [each["device"] for each in lines if each["type"] == "series"] == ["meter-0", "meter-1"]
    # one page by /range, the rest by lines
    page = await desk.ok("range", since=iso_of(start), until=iso_of(NOW_MS), resolution="raw", points="50")
    rest = [json.loads(line) for line in (await desk.get("lines", cursor=page["next"])).text.splitlines()]
    assert [each["value"] for each in rest if each["type"] == "point"] == list(range(50, 72))


async def test_a_stream_that_takes_too_long_says_where_to_go_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_reader, "PIECE", 5)
    monkeypatch.setattr(query_reader, "STREAM_MS_MOST", -1)
    await desk.write(*(desk.reading(NOW_MS - 1000 + n, n) for n in range(12)))
    seen: list[int] = []
    arguments: dict[str, str] = {}
    for _ in range(3):
        lines = [json.loads(line) for line in (await desk.get("lines", **arguments)).text.splitlines()]
        seen += [each["value"] for each in lines if each["type"] == "point"]
        assert lines[-1]["type"] == "error"
        arguments = {"cursor": lines[-1]["next"]}
    assert seen == list(range(12))
    assert [json.loads(line)["type"] for line in (await desk.get("lines", **arguments)).text.splitlines()] == [
        "start", "end"
    ]  # fmt: skip


async def test_too_many_streams_are_told_to_come_back_and_places_are_given_back(desk: Desk) -> None:
    places = query_routes.Places(2)

    async def lines() -> Any:
        yield b"one\n"
        yield b"two\n"

    places.take()
    held = places.held(lines())
    assert await anext(held) == b"one\n"
    places.take()
    with pytest.raises(ProblemError) as raised:
        places.take()
    assert (raised.value.status_code, raised.value.headers) == (503, {"Retry-After": "5"})
    await held.aclose()  # the client hung up in the middle
    places.take()


async def test_a_client_that_leaves_before_the_first_line_leaves_its_place() -> None:
    places = query_routes.Places(1)

    async def lines() -> Any:
        yield b"one\n"

    places.take()
    places.held(lines())  # the answer's head could not be sent: nobody asks for a line
    places.take()


async def test_the_api_describes_itself(desk: Desk) -> None:
    told = (await desk.http.get("/api/v1/schema/openapi.json", headers=desk.as_("viewer"))).json()
    known = {path.rpartition("/")[2]: item["get"] for path, item in told["paths"].items()}
    assert set(known) == set(GETS)
    assert {each["name"] for each in known["range"]["parameters"]} == {
        "property_id", "since", "until", "resolution", "room", "device", "capability", "attribute", "points", "cursor"
    }  # fmt: skip


@pytest.mark.guarantee("G17")
async def test_days_are_those_of_utc_over_a_change_of_the_clocks_and_of_the_year(desk: Desk) -> None:
    """A local day of spring has 23 hours and begins in the middle of a UTC one; each reading is in one bucket."""
    spring = unix_ms(datetime(2026, 3, 28, 23, tzinfo=UTC))  # midnight where clocks go forward three hours later
    await desk.write(*(desk.reading(spring + n * 900_000, n) for n in range(-1, 93)))
    year = unix_ms(datetime(2026, 1, 1, tzinfo=UTC))
    await desk.write(*(desk.reading(year + n, n) for n in (-1, 0, 1)))
    await desk.settle()
    span = {"since": "2026-03-29T00:00:00+01:00", "until": "2026-03-30T00:00:00+02:00"}
    day = await desk.ok("range", **span, resolution="15m")
    assert (day["since"], day["until"]) == ("2026-03-28T23:00:00.000Z", "2026-03-29T22:00:00.000Z")
    assert [each["first"] for each in day["buckets"]] == list(range(92))
    [amount] = (whole := await desk.ok("aggregate", **span))["amounts"]
    assert (whole["resolution"], amount["samples"], amount["first"], amount["last"]) == ("15m", 92, 0, 91)
    days = await desk.ok("range", **span, resolution="1d")  # widened to whole days, and says so
    assert [(each["at"][:10], each["samples"]) for each in days["buckets"]] == [("2026-03-28", 5), ("2026-03-29", 89)]
    assert (days["since"], days["until"]) == ("2026-03-28T00:00:00.000Z", "2026-03-30T00:00:00.000Z")
    turn = {"since": "2025-12-31T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    for resolution, before in (("1d", "2025-12-31T00:00"), ("15m", "2025-12-31T23:45"), ("1m", "2025-12-31T23:59")):
        told = await desk.ok("range", **turn, resolution=resolution)
        if resolution == "1m":
            assert (told["buckets"], told["kept_since"] > turn["until"]) == (
                [],
                True,
            )  # minutes are gone, and it says so
            continue
        assert [(each["at"][:16], each["samples"]) for each in told["buckets"]] == [
            (before, 1),
            ("2026-01-01T00:00", 2),
        ]


@pytest.mark.guarantee("G17")
async def test_series_of_nothing_of_one_point_of_flags_and_of_words(desk: Desk) -> None:
    start = NOW_MS - NOW_MS % DAY_MS - 2 * DAY_MS
    words: dict[str, list[Scalar | None]] = {
        "number": [2.5],
        "flag": [True, False, True],
        "word": ["heat", "cool"],
        "none": [None],
        "away": [1.0],
    }
    for device, values in words.items():
        for n, value in enumerate(values):
            when = start - DAY_MS if device == "away" else start + n * 1_000
            quality = "bad" if value is None else "good"
            await desk.write(desk.reading(when, value, device=device, quality=quality))
    await desk.settle()
    for until in (start + 3_000, start + DAY_MS):
        span = {"since": iso_of(start), "until": iso_of(until)}
        raw = await desk.ok("range", **span)
        assert (raw["resolution"], raw["next"], {each["device"] for each in raw["series"]}) == (
            "raw", None, {"number", "flag", "word", "none"},
        )  # fmt: skip
        empty = await desk.ok("range", **span, device="away")
        assert (empty["points"], empty["buckets"], empty["series"], empty["next"]) == ([], [], [], None)
        assert (await desk.ok("aggregate", **span, device="away"))["amounts"] == []
        lines = [json.loads(line) for line in (await desk.get("lines", **span, device="away")).text.splitlines()]
        assert [each["type"] for each in lines] == ["start", "end"]
        one = await desk.ok("range", **span, device="number", points="1")
        assert ([each["value"] for each in one["points"]], one["next"]) == ([2.5], None)
    before = {"since": iso_of(start - 1), "until": iso_of(start)}  # the end of a span is not in it
    assert (await desk.ok("range", **before))["points"] == []
    for resolution in ("1m", "15m", "1d"):
        found = await desk.ok("range", since=iso_of(start), until=iso_of(start + DAY_MS), resolution=resolution)
        names = {each["id"]: each["device"] for each in found["series"]}
        told = {names[each["series"]]: each for each in found["buckets"]}
        assert {device: (each["samples"], each["flawed"], each["least"], each["most"], each["first"], each["last"])
                for device, each in told.items()} == {
            "number": (1, 0, 2.5, 2.5, 2.5, 2.5), "flag": (3, 0, 0.0, 1.0, 1.0, 1.0),
            "word": (2, 0, None, None, "heat", "cool"), "none": (0, 1, None, None, None, None),
        }  # fmt: skip
        assert (told["flag"]["mean"], told["word"]["mean"]) == (2 / 3, None)
        amounts = await desk.ok(
            "aggregate", since=iso_of(start), until=iso_of(start + DAY_MS), resolution=resolution
        )  # fmt: skip
        assert {each["device"]: (each["samples"], each["mean"]) for each in amounts["amounts"]} == {
            "number": (1, 2.5), "flag": (3, 2 / 3), "word": (2, None), "none": (0, None),
        }  # fmt: skip
