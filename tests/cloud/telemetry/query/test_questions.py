"""Questions judged: every wrong argument is named, resolutions fit, cursors keep what they were made of."""

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.telemetry import query
from cloud.telemetry.store.port import Resolution, Selection
from protocols.errors import InvalidInputError

NOW_MS = 1_795_000_000_000
HOUSE = Selection("northlight", "aurora")
DAY_MS = 86_400_000


def asked(**arguments: str) -> query.Question:
    return query.question_of(HOUSE, arguments, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-17"}, "since"),
        ({"since": "2026-11-17T10:00:00"}, "since"),  # no zone
        ({"since": "1795000000000"}, "since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"since": "9999-12-31T23:59:59-14:00"}, "since"),
        ({"until": "2026-11-18T25:00:00Z"}, "until"),
        ({"until": "2126-11-18T00:00:00Z"}, "until"),
        ({"since": "2026-11-18T10:00:00Z", "until": "2026-11-18T10:00:00Z"}, "since"),
        ({"since": "2011-11-18T10:00:00Z"}, "since"),
        ({"resolution": "5m"}, "resolution"),
        ({"resolution": ""}, "resolution"),
        ({"points": "0"}, "points"),
        ({"points": "10001"}, "points"),
        ({"points": "-1"}, "points"),
        ({"points": "1e3"}, "points"),
        ({"points": "\u0661"}, "points"),  # a digit, but none of ours
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "\u00e9"}, "cursor"),
        ({"cursor": "A" * 10_000}, "cursor"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, str], place: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        asked(**arguments)
    assert raised.value.place == place


def test_unknown_and_repeated_arguments_are_named() -> None:
    for arguments, place in (([("rom", "101")], "rom"), ([("room", "1"), ("room", "2")], "room")):
        with pytest.raises(InvalidInputError) as raised:
            query.single(arguments, query.FILTERS)
        assert raised.value.place == place
    for name in query.FILTERS:
        for wrong in ("", "x" * 81, "a\x00b"):
            with pytest.raises(InvalidInputError) as raised:
                query.selection_of("t", "p", {name: wrong})
            assert raised.value.place == name
    with pytest.raises(InvalidInputError, match="by: 'floor' is none of"):
        query.grouping_of({"by": "floor"})


def test_a_span_is_the_last_hour_unless_said() -> None:
    assert asked() == query.Question(HOUSE, NOW_MS - 3_600_000, NOW_MS, None, query.POINTS_DEFAULT)
    with_zone = asked(since="2026-11-18T00:00:00+01:00", until="2026-11-18T00:30:00Z", resolution="15m", points="7")
    assert with_zone.until_ms - with_zone.since_ms == 90 * 60_000
    assert (with_zone.resolution, with_zone.points) == (Resolution.QUARTER, 7)


@given(
    series=st.integers(1, 5_000), span_ms=st.integers(1, 3_600 * DAY_MS), points=st.integers(1, 10_000),
    lost=st.lists(st.one_of(st.none(), st.integers(0, 4_000 * DAY_MS)), min_size=3, max_size=3),
)  # fmt: skip
def test_the_finest_roll_up_that_fits_is_chosen(series: int, span_ms: int, points: int, lost: list[int | None]) -> None:
    question = query.Question(HOUSE, NOW_MS - span_ms, NOW_MS, None, points)
    rollups = (Resolution.MINUTE, Resolution.QUARTER, Resolution.DAY)
    kept = {each: None if ago is None else NOW_MS - ago for each, ago in zip(rollups, lost, strict=True)}

    def fits(resolution: Resolution) -> bool:
        first, last = question.since_ms // resolution.step_ms, (question.until_ms - 1) // resolution.step_ms
        buckets = last - first + 1
        since = kept[resolution]
        return series * buckets <= points and (since is None or first * resolution.step_ms >= since)

    expected = next((each for each in rollups if fits(each)), Resolution.DAY)
    assert query.coarser(question, series=series, kept_since=kept) is expected


@given(
    since=st.integers(query.PAST_LEAST_MS, NOW_MS - 1), span=st.integers(1, 400 * DAY_MS),
    resolution=st.sampled_from(Resolution),
)  # fmt: skip
def test_windows_cover_a_span_once(since: int, span: int, resolution: Resolution) -> None:
    pieces = list(query.windows(since, since + span, resolution))
    assert pieces[0][0] == since
    assert pieces[-1][1] == since + span
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(pieces))
    assert all(start < end for start, end in pieces)


@given(st.integers(0, 10**12), st.integers(1, 10 * 366 * DAY_MS))
def test_pieces_cover_a_span_once_and_are_few(since: int, span: int) -> None:
    found = list(query.pieces(since, since + span))
    assert found[0][0] == since
    assert found[-1][1] == since + span
    assert all(one[1] == other[0] for one, other in itertools.pairwise(found))
    assert all(begin < end for begin, end in found)
    assert found[0][1] - since <= DAY_MS
    assert len(found) <= 13


def test_a_cursor_keeps_span_resolution_and_selection() -> None:
    question = asked(since="2026-11-18T00:00:00Z", until="2026-11-18T06:00:00Z", points="5")
    cursor = query.cursor_after(question, Resolution.MINUTE, (question.since_ms + 60_000, 7, 0, 0))
    again = asked(cursor=cursor)
    assert (again.since_ms, again.until_ms) == (question.since_ms, question.until_ms)
    assert (again.resolution, again.after) == (Resolution.MINUTE, (question.since_ms + 60_000, 7, 0, 0))
    for arguments, place in (
        ({"since": "2026-11-18T00:00:00Z"}, "since"), ({"until": "2026-11-18T00:00:00Z"}, "until"),
        ({"resolution": "raw"}, "resolution"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError) as raised:
            asked(cursor=cursor, **arguments)
        assert raised.value.place == place
    with pytest.raises(InvalidInputError, match="another selection"):
        query.question_of(Selection("northlight", "aurora", room="101"), {"cursor": cursor}, now_ms=NOW_MS)
    with pytest.raises(InvalidInputError, match="another selection"):
        query.question_of(Selection("southwind", "aurora"), {"cursor": cursor}, now_ms=NOW_MS)


@given(st.text(max_size=60), st.binary(max_size=60))
def test_a_forged_cursor_is_refused_by_name(text: str, data: bytes) -> None:
    for forged in (text, base64.urlsafe_b64encode(data).decode().rstrip("=")):
        with pytest.raises(InvalidInputError) as raised:
            asked(cursor=forged)
        assert raised.value.place == "cursor"
