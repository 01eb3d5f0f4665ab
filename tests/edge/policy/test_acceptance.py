"""An edge takes up a signed policy whole or not at all, and never an older one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.policy.acceptance import SignedPolicies
from kit.clock import ClockQuality, ManualClock
from protocols.device_model.identity import StayId
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.grant.keys import private_key
from protocols.policy import check_in
from protocols.policy.envelope import Policy, PolicyRefusal, PolicyRefusedError, sign
from protocols.vectors.fixed import stream
from tests.edge.world import AURORA, PHONE, Building, a_document, a_stay

pytestmark = pytest.mark.guarantee("G6")
NOW_MS, DAY_MS, NAME = 1_795_000_000_000, 24 * 3_600_000, "policy_check_in"
KEY = private_key(stream("command key"))


def body(minutes: int = 60) -> str:
    return check_in.encode(
        check_in.CheckInPolicy(v=1, jurisdiction="AUT", steps=check_in.LAST, opens_before_minutes=minutes)
    )


def signed(version: int = 1, minutes: int = 60, **changes: Any) -> dict[str, Any]:
    policy = Policy("aurora", "check_in", version, NOW_MS - DAY_MS, NOW_MS + DAY_MS, body(minutes))
    return {"signed": sign(replace(policy, **changes), KEY, b"command")}


class Disk:
    """A store and a record log that may fail."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.records: list[Mapping[str, Any]] = []
        self.full = False

    async def save_document(self, name: str, body: bytes) -> None:
        if self.full:
            raise StoreFailedError("full")
        self.documents[name] = body

    async def desired(self, body: Mapping[str, Any]) -> None:
        self.records.append(body)


def policies(disk: Disk, clock: ManualClock | None = None) -> SignedPolicies:
    made = SignedPolicies(
        ours="aurora", kinds={"check_in": check_in.parse}, store=disk, records=disk,
        clock=clock or ManualClock(wall_ms=NOW_MS),
    )  # fmt: skip
    made.pin(lambda kid: KEY.public_key() if kid == b"command" else None)
    made.restore(disk.documents)
    return made


def minutes(of: SignedPolicies) -> int | None:
    read = of.in_force("check_in")
    return read.opens_before_minutes if isinstance(read, check_in.CheckInPolicy) else None


async def test_a_policy_is_in_force_at_once_after_a_restart_and_after_its_time() -> None:
    disk, clock = Disk(), ManualClock(wall_ms=NOW_MS)
    ours = policies(disk, clock)
    await ours.take(NAME, 3, signed(3, 90))
    assert minutes(ours) == 90
    clock.advance(40 * DAY_MS)
    again = policies(disk, clock)
    assert (minutes(again), again.version("check_in")) == (90, 3)
    assert disk.records == [{"name": NAME, "version": 3, "applied": True}]


@pytest.mark.parametrize(
    ("offered", "refusal"),
    [
        ({"signed": signed(4)["signed"][:-1] + b"\x00"}, PolicyRefusal.UNSIGNED),
        (signed(2), PolicyRefusal.OLDER),
        (signed(3, 91), PolicyRefusal.CONFLICTING),
        (signed(4, property="borealis"), PolicyRefusal.FOREIGN),
        (signed(4, issued_at_ms=NOW_MS - DAY_MS * 3, until_ms=NOW_MS - DAY_MS), PolicyRefusal.EXPIRED),
        (signed(4, body="{}"), PolicyRefusal.MALFORMED),
    ],
)
async def test_what_is_refused_changes_nothing_and_is_reported(offered: object, refusal: PolicyRefusal) -> None:
    disk = Disk()
    ours = policies(disk)
    await ours.take(NAME, 3, signed(3, 90))
    kept = dict(disk.documents)
    with pytest.raises(PolicyRefusedError) as refused:
        await ours.take(NAME, 4, offered)
    assert refused.value.refusal is refusal
    assert (minutes(ours), disk.documents) == (90, kept)
    assert (disk.records[-1]["applied"], disk.records[-1]["reason"]) == (False, refusal.value)


@pytest.mark.parametrize(
    ("name", "version", "offered"),
    [
        (NAME, 5, signed(4)),
        ("policy_sauna", 4, signed(4)),
        (NAME, 4, {}),
        (NAME, 4, {"signed": "text"}),
        (NAME, 4, None),
        (NAME, 4, {**signed(4), "more": 1}),
    ],
)
async def test_a_document_that_is_not_what_it_says_is_refused(name: str, version: int, offered: object) -> None:
    ours = policies(Disk())
    with pytest.raises(InvalidInputError):
        await ours.take(name, version, offered)
    assert minutes(ours) is None


async def test_nobodys_key_is_believed_before_one_is_pinned() -> None:
    disk = Disk()
    unpinned = SignedPolicies(
        ours="aurora", kinds={"check_in": check_in.parse}, store=disk, records=disk, clock=ManualClock(wall_ms=NOW_MS)
    )
    with pytest.raises(PolicyRefusedError):
        await unpinned.take(NAME, 1, signed())


async def test_a_full_disk_leaves_the_policy_that_was_in_force() -> None:
    disk = Disk()
    ours = policies(disk)
    await ours.take(NAME, 1, signed(1, 30))
    disk.full = True
    with pytest.raises(StoreFailedError):
        await ours.take(NAME, 2, signed(2, 90))
    assert (minutes(ours), ours.version("check_in")) == (30, 1)
    disk.full = False
    await ours.take(NAME, 2, signed(2, 90))
    assert minutes(policies(disk)) == 90


@pytest.mark.guarantee("G10")
async def test_an_edge_without_a_clock_takes_up_what_is_newer_and_does_not_judge_the_end() -> None:
    clock = ManualClock(wall_ms=0)
    clock.quality = ClockQuality.UNCERTAIN
    late = policies(Disk(), clock)
    await late.take(NAME, 4, signed(4, 45, issued_at_ms=NOW_MS - 9 * DAY_MS, until_ms=NOW_MS - DAY_MS))
    assert minutes(late) == 45


async def test_what_was_stored_by_another_build_is_named_and_still_the_newest_seen() -> None:
    disk = Disk()
    disk.documents[NAME] = b'{"version":7,"body":"{\\"v\\":9}"}'
    ours = policies(disk)
    assert ours.restore(disk.documents) == ["check_in"]
    with pytest.raises(PolicyRefusedError):
        await ours.take(NAME, 6, signed(6))
    await ours.take(NAME, 8, signed(8, 20))
    assert minutes(ours) == 20


@pytest.mark.requirement("STY-02")
async def test_the_house_opens_check_in_when_the_signed_policy_says(tmp_path: Path) -> None:
    clock = ManualClock(wall_ms=NOW_MS)
    building = Building(clock, path=tmp_path / "edge.db")
    building.house.policies.pin(lambda _kid: KEY.public_key())
    arrives = NOW_MS + 2 * 3_600_000
    due = a_stay(expected_from_ms=arrives, expected_until_ms=arrives + DAY_MS)
    await building.house.desired("stays", 1, a_document(due, as_of_ms=NOW_MS))
    await building.house.desired(NAME, 1, signed(1, 60, property=str(AURORA)))
    for _ in range(2):
        with pytest.raises(CheckInRefusedError) as early:
            await building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
        assert early.value.reason is CheckInRefusal.TOO_EARLY
        assert early.value.available_from_ms == arrives - 3_600_000
        await building.restart()
    clock.advance(3_600_000)
    assert (await building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk"))["state"] == "in_house"
    await building.store.close()
