"""The doors' core killed at any moment: `python -m tests.edge.doors.dying FOLDER ROUNDS SEED`; status 0 if all held.

One program that forks: the child issues, ends stays, visits locks and hands events to a house, telling the parent
through a pipe what was acknowledged; the parent kills it with SIGKILL at a random moment, opens the same store and
checks. The locks and the house are other machines: theirs is on disk before they answer.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kit.dice import SeededDice
from protocols import cbor, cose
from protocols.door.audit import AuditEvent
from protocols.door.bundle import Bundle
from protocols.door.lock_core import LockCore
from protocols.door.status import Status
from protocols.grant.claims import CTI
from tests.edge.doors.building import Building, MemoryLock

ROOMS: Final = ("101", "102")
ROUND_S: Final = 3_600
LIFE_MOST_S: Final = 0.1
KILLED: Final = -signal.SIGKILL


class DurableLock(MemoryLock):
    """Stores its memory before it answers, as a lock does."""

    folder: Path

    def took(self, step: Any) -> None:
        super().took(step)
        keep(self.folder / self.identity.lock_id.hex(), self.core.encode())


def keep(path: Path, data: bytes) -> None:
    """Replace a file whole. No fsync: a killed process loses no page."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


class House:
    """The rest of the edge: takes events in order, each once, and acknowledges what it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def held(self) -> Iterator[dict[str, Any]]:
        """Yield every event ever taken; a torn last line was never acknowledged."""
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            yield json.loads(line)

    def take(self, building: Building) -> None:
        """Take what is new, then let the doors forget it."""
        mark = max((each["seq"] for each in self.held()), default=0)
        for event in building.store.events(0):
            if event.seq > mark:
                with self.path.open("a") as file:
                    file.write(json.dumps({"seq": event.seq, **event.body}) + "\n")
            building.store.forget_events(event.seq)


def opened(folder: Path, number: int) -> Building:
    """Open the building as it is on disk, in hour `number`."""
    building = Building(folder / "doors")
    building.store.close()
    building.clock.advance(number * ROUND_S * 1_000)
    building.dice = building.radio.dice = SeededDice(f"{folder} {number} {os.getpid()}")
    for door, lock in building.locks.items():
        path = folder / lock.identity.lock_id.hex()
        core = LockCore.decode(path.read_bytes()) if path.exists() else lock.core
        durable = DurableLock(lock.identity, building.clock, core)
        durable.folder = folder
        building.locks[door] = building.radio.locks[lock.identity.lock_id.hex()] = durable
    building.open()
    return building


def live(folder: Path, number: int, seed: str, told: int) -> None:
    """Do what doors do, until killed."""
    dice = random.Random(seed)
    building, house = opened(folder, number), House(folder / "house")
    stays: list[tuple[str, str]] = []
    for step in range(100_000):
        building.clock.advance(dice.randrange(300))
        deed = dice.random()
        if deed < 0.35 or not stays:
            stay, room = f"stay-{number}-{step}", dice.choice(ROOMS)
            bundle = building.phone(stay).check_in(stay, room)
            stays.append((stay, room))
            tell(told, {"issued": stay, "room": room, "bundle": bundle.to_document()})
        elif deed < 0.5:
            stay, room = stays.pop(dice.randrange(len(stays)))
            building.desk.end_stay(stay)
            tell(told, {"ended": stay, "room": room})
        elif deed < 0.7:
            stay, room = dice.choice(stays)
            phone = building.phone(stay)
            phone.bundle = building.desk.issue(
                stay, [building.plan.rooms[ROOMS.index(room)].id], phone.public, **window(building, stay)
            )
            phone.open(f"door-{room}")
        elif deed < 0.85:
            asyncio.run(building.visit(f"door-{dice.choice(ROOMS)}"))
        else:
            house.take(building)


def grant_id(signed: bytes) -> bytes:
    """Return the id of a grant."""
    claims = cbor.decode(cose.parse1(signed).payload, len(signed))
    assert isinstance(claims, dict)
    found = claims[CTI]
    assert isinstance(found, bytes)
    return found


def window(building: Building, stay: str) -> dict[str, Any]:
    """The window a stay was checked in with, so that asking again is asking the same."""
    found = building.store.latest_grant(stay, building.phone(stay).public)
    if found is None:
        raise AssertionError(f"{stay} was acknowledged and is gone")
    grace_s = round(building.policy.grace.total_seconds())
    return {"not_before_ms": found.not_before_s * 1_000, "not_after_ms": (found.wanted_until_s - grace_s) * 1_000}


def tell(told: int, fact: dict[str, Any]) -> None:
    """Say what was acknowledged."""
    os.write(told, json.dumps(fact).encode() + b"\n")


def check(folder: Path, number: int, facts: list[dict[str, Any]]) -> None:
    """Open what is left and hold it against what was acknowledged. Raises AssertionError."""
    building, house = opened(folder, number), House(folder / "house")
    assert building.store.set_aside is None, "the store was damaged"
    ended = {fact["ended"] for fact in facts if "ended" in fact}
    issued = [fact for fact in facts if "issued" in fact]
    for fact in issued:
        stay = fact["issued"]
        told = Bundle.from_document(fact["bundle"]).grant
        kept = building.store.grant(grant_id(told))  # not the latest: a stay overtaken at its room gets a newer one
        assert kept is not None, f"{stay} was acknowledged and is gone"
        assert kept.signed == told, f"{stay} has another grant now"
        known = building.store.stay(stay)
        assert known is not None
        assert (known.ended_at_ms is not None) or stay not in ended, f"the end of {stay} is gone"
    for _ in range(2):
        for room in ROOMS:
            asyncio.run(building.visit(f"door-{room}"))
    assert building.store.pending_bumps() == []
    for fact in issued:
        if (stay := fact["issued"]) in ended:
            phone = building.phone(stay)
            phone.bundle = Bundle.from_document(fact["bundle"])
            lock = building.locks[f"door-{fact['room']}"]
            building.clock.advance(60_000)  # nobody's throttle
            said = phone.open(f"door-{fact['room']}").result.status
            assert said is Status.SUPERSEDED, f"{stay} has ended and its phone is told {said.name}"
            assert isinstance(lock, DurableLock)
    for room in ROOMS:
        asyncio.run(building.visit(f"door-{room}"))
    while building.store.events(0, 1):
        house.take(building)
    taken = list(house.held())
    assert [each["seq"] for each in taken] == list(range(1, len(taken) + 1)), "an event is missing, doubled or late"
    for room in ROOMS:
        lock = building.locks[f"door-{room}"]
        seqs = [each["lock_seq"] for each in taken if each["lock"] == lock.identity.lock_id.hex()]
        assert seqs == list(range(1, lock.core.audit_seq + 1)), f"records of door-{room}: {seqs[-5:]}"
        assert all(record.event != AuditEvent.LOST for record in lock.core.records)
    building.store.close()


def main(folder: Path, rounds: int, seed: str) -> int:
    """Kill and check `rounds` times."""
    dice = random.Random(seed)
    deeds = 0
    for number in range(rounds):
        reads, told = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reads)
            live(folder, 2 * number, f"{seed} {number}", told)
            os._exit(1)  # it ends by being killed
        os.close(told)
        first = os.read(reads, 1)  # it lives: the store is open and the first grant is out
        time.sleep(dice.uniform(0, LIFE_MOST_S))
        os.kill(child, signal.SIGKILL)
        said = first
        while part := os.read(reads, 65_536):
            said += part
        os.close(reads)
        _, status = os.waitpid(child, 0)
        facts = [json.loads(line) for line in said.split(b"\n")[:-1]]
        try:
            assert os.waitstatus_to_exitcode(status) == KILLED, f"it ended by itself: {status}"
            check(folder, 2 * number + 1, facts)
        except AssertionError as error:
            sys.stdout.write(f"round {number}, seed {seed}: {error}\n")
            return 1
        deeds += len(facts)
    sys.stdout.write(f"{rounds} kills, {deeds} acknowledged deeds\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
