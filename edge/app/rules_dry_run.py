"""`innkeeper-edge rules-dry-run`: what a room policy would have changed, held against the recorded days.

Reads copies of the record log and of edge.db: a running edge is not disturbed, and nothing is written. The devices are
those of the site plan with the bindings laid over it, as the edge has them. Exit status 0: told; 1: the log
cannot be read; 2: the policy, the configuration or the times are wrong, named.
"""

import asyncio
import datetime
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from edge.app.announced_things import with_kept
from edge.app.buses import fresh_ms, read_descriptors
from edge.app.edge_store import EdgeStore, Restored
from edge.app.house import restored_book
from edge.app.settings import EdgeSettings
from edge.app.site import read_site_plan
from edge.binding.book import checker, effective
from edge.log.record_log import READ_RECORDS_MAX, RecordLog
from edge.policy import document as policy_document
from edge.policy import local_hours
from edge.policy.acceptance import NAME_PREFIX, kept_body
from edge.policy.document import RoomPolicy
from edge.rooms.dry_run import Difference, Wished, difference, in_order, lived
from firmware_bridges.catalogue import check_plan
from kit.clock import Clock
from kit.dice import Dice
from kit.logs import logger
from kit.settings import load
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DescriptorId, DeviceId
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError, StoreFailedError, UnsupportedVersionError
from protocols.link.lanes import LANES, Lane
from protocols.link.record import Record
from protocols.policy import room

DAY_MS: Final = 24 * 3_600_000
WARM_UP_DAYS: Final = 7  # recorded days before `from` from which the rooms learn where they stood
SHOWN_MOST: Final = 200
KINDS: Final = frozenset({"reading", "access", "stay"})


def run(
    config: Path,
    policy_path: Path,
    begins: str,
    ends: str,
    environ: Mapping[str, str],
    *,
    clock: Clock,
    dice: Dice,
    say: Callable[[str], object],
) -> None:
    """Tell `say`, line by line.

    Args:
        config: edge.toml, for the plan and the data folder.
        policy_path: The policy to try.
        begins: ISO date or date and time in the property's zone, from which differences are told.
        ends: Likewise, up to which.
        environ: Overrides of the settings.
        clock: For opening the copy.
        dice: For opening the copy.
        say: Takes a line.

    Raises:
        InvalidInputError, UnsupportedVersionError: policy, configuration, plan or times; named.
        StoreFailedError: the log cannot be read.
    """
    settings = load(EdgeSettings, config, "EDGE", environ)
    try:
        data = policy_path.read_bytes()
    except OSError as error:
        raise InvalidInputError(str(policy_path), f"cannot be read: {error.strerror or error}") from error
    offered = policy_document.parse(data, str(policy_path))
    plan = read_site_plan(settings)
    if plan is None:
        raise InvalidInputError(f"{config}: site_plan_path", "is missing: without rooms no policy changes anything")
    where = local_hours.zone(plan.property.zone, "site plan: property.zone")
    from_ms, until_ms = _moment(begins, where, "--from"), _moment(ends, where, "--to")
    if until_ms <= from_ms:
        raise InvalidInputError("--to", f"{ends} is not after {begins}")
    restored = _restored(settings)
    catalogue = with_kept(plan, read_descriptors(plan, settings.bridges.models_path), settings.data_dir)
    plan = _as_bound(plan, restored, catalogue)
    current = _in_force(restored)
    span = (from_ms, until_ms)
    found = asyncio.run(_compare(settings, plan, catalogue, (current, offered), span, clock=clock, dice=dice))
    say(f"in force: {current.name!r} version {current.version}; tried: {offered.name!r} version {offered.version}")
    _report(found, plan, where, say)


async def _compare(
    settings: EdgeSettings,
    plan: SitePlan,
    points: Mapping[DescriptorId, Descriptor],
    policies: tuple[RoomPolicy, RoomPolicy],
    span: tuple[int, int],
    *,
    clock: Clock,
    dice: Dice,
) -> Difference:
    from_ms, until_ms = span
    where = local_hours.zone(plan.property.zone, "site plan: property.zone")
    records = await _recorded(settings.data_dir / "log", from_ms - WARM_UP_DAYS * DAY_MS, until_ms, clock, dice)
    writable = {
        (device.id, point.capability, point.attribute)
        for device in plan.devices
        for point in points[device.descriptor].points
        if point.write is not None
    }

    def can_write(device: DeviceId, capability: Capability, attribute: str) -> bool:
        return (device, capability, attribute) in writable

    lives: list[list[Wished]] = [
        await lived(
            policy,
            plan,
            records,
            from_ms=from_ms,
            until_ms=until_ms,
            writable=can_write,
            fresh_ms=fresh_ms(plan, points),
            about={room.id: (room.floor, room.type) for room in plan.rooms},
            windows=[each.id for each in plan.devices if each.watches == "window"],
            where=where,
        )
        for policy in policies
    ]
    return difference(*lives)


async def _recorded(folder: Path, from_ms: int, until_ms: int, clock: Clock, dice: Dice) -> list[Record]:
    """Return what the log holds of rooms, by the edge's clock, from a copy."""
    with tempfile.TemporaryDirectory(prefix="innkeeper-dry-run-") as copy:
        for lane in LANES:
            path = folder / f"lane-{lane.topic_segment}.db"
            if not path.exists():
                raise StoreFailedError(f"{path}: there is no such lane file")
            for side in ("", "-wal"):
                if (source := path.with_name(path.name + side)).exists():
                    shutil.copyfile(source, Path(copy) / source.name)
        log = await RecordLog.open(Path(copy), clock=clock, dice=dice)
        try:
            return in_order([await _lane(log, lane, from_ms, until_ms) for lane in LANES])
        finally:
            await log.close()


async def _lane(log: RecordLog, lane: Lane, from_ms: int, until_ms: int) -> list[Record]:
    found: list[Record] = []
    after = 0
    while batch := await log.read(lane, after, READ_RECORDS_MAX):
        found += [each for each in batch if each.kind in KINDS and from_ms <= each.edge_at_ms < until_ms]
        after = batch[-1].seq
    return found


def _restored(settings: EdgeSettings) -> Restored | None:
    """Return what edge.db holds, from a copy; None: there is none."""
    path = settings.data_dir / "edge.db"
    if not path.exists():
        return None
    with tempfile.TemporaryDirectory(prefix="innkeeper-dry-run-") as copy:
        for side in ("", "-wal"):
            if (source := path.with_name(path.name + side)).exists():
                shutil.copyfile(source, Path(copy) / source.name)
        store, restored = EdgeStore.open(Path(copy) / path.name, threaded=False)
        asyncio.run(store.close())
    return restored


def _as_bound(plan: SitePlan, restored: Restored | None, catalogue: Mapping[DescriptorId, Descriptor]) -> SitePlan:
    """Return the plan with what was bound, swapped and taken out at the edge, as far as it can be."""
    if restored is None:
        return plan
    book = restored_book(restored.documents, logger("edge.rules"))
    return effective(plan, book, checker(catalogue, check_plan)).plan


def _in_force(restored: Restored | None) -> RoomPolicy:
    """Return the policy that the edge holds: the signed one before the node's own, else the shipped."""
    if restored is None:
        return policy_document.default()
    signed = restored.documents.get(NAME_PREFIX + room.KIND)
    try:
        if signed is not None and (found := policy_document.signed_body(kept_body(signed))) is not None:
            return found
        if restored.policy is None:
            return policy_document.default()
        return policy_document.parse(restored.policy, "edge.db: policy")
    except (InvalidInputError, UnsupportedVersionError):
        return policy_document.default()  # as the edge itself does


def _moment(text: str, where: ZoneInfo, place: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(place, f"{text!r} is no date like 2026-11-14 or 2026-11-14T18:00") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=where)
    return int(moment.timestamp() * 1000)


def _report(found: Difference, plan: SitePlan, where: ZoneInfo, say: Callable[[str], object]) -> None:
    rows = sorted([(each, "-") for each in found.only_before] + [(each, "+") for each in found.only_after])
    for each, sign in rows[:SHOWN_MOST]:
        at = local_hours.local(each.at_ms, where).strftime("%Y-%m-%d %H:%M")
        say(f"{sign} {at} room {each.room}: {each.capability}.{each.attribute} = {each.value} ({each.why})")
    if len(rows) > SHOWN_MOST:
        say(f"... and {len(rows) - SHOWN_MOST} more")
    for why, count in sorted(Counter(each.why for each in found.only_after).items()):
        say(f"{count} wishes more by {why}")
    for why, count in sorted(Counter(each.why for each in found.only_before).items()):
        say(f"{count} wishes less by {why}")
    rooms = len({each.room for each, _ in rows})
    guest_rooms = sum(1 for room in plan.rooms if room.kind == "guest_room")
    say(f"{len(rows)} differences in {rooms} of {guest_rooms} rooms; {found.both} wishes are the same")
