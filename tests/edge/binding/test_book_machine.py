"""Any run of bindings, kills, lost stores and full disks, against a model that is a dictionary."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.binding.errors import BindingRefusedError, ChangedMeanwhileError, UnknownDeviceError
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.site_plan import Address
from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.binding.desk import LAMP, ZIGBEE, Life, ana, lamp

T = TypeVar("T")
NAMES = st.sampled_from(["light-101", "light-102", "lamp-a", "lamp-b"]).map(DeviceId)
THINGS = st.sampled_from(["radio-1", "radio-2", "light-101", "light-102"])
"""Addresses, two of them taken by the plan."""
OFF = st.sampled_from([0, 0, 0, -1, 1])
"""How far the asker's version is off: mostly not at all."""


class Bindings(RuleBasedStateMachine):
    """The model: what address each name has (None: none), and its version."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="ik-bind-"))
        self.life = self.run(Life.begin(self.folder))
        plan = self.life.building.plan
        self.at: dict[str, str | None] = {each.id: each.address.friendly_name for each in plan.devices}
        self.rooms: dict[str, str] = {each.id: each.room for each in plan.devices}
        self.versions: dict[str, int] = {}
        self.facts = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.run(self.life.end())
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)

    def version(self, name: str) -> int:
        return self.versions.get(name, 0)

    def done(self, name: str, address: str | None, room: str | None = None) -> None:
        self.at[name] = address
        self.versions[name] = self.version(name) + 1
        self.facts += 1
        if room is not None:
            self.rooms[name] = room

    @rule(name=NAMES, thing=THINGS, room=st.sampled_from(["101", "102"]), off=OFF, by=st.sampled_from(["ana", "ben"]))
    def bind(self, name: DeviceId, thing: str, room: str, off: int, by: str) -> None:
        asked = ana(max(0, self.version(name) + off), by=by)
        before, facts = self.at.get(name), self.facts
        try:
            answer = self.run(self.life.desk.bind(name, lamp(room, thing), asked, found_id=None))
        except ChangedMeanwhileError:
            assert asked.version != self.version(name)
        except BindingRefusedError:
            assert before is not None or thing in self.at.values()
        else:
            if answer["fact"]["n"] > facts:
                assert before is None
                assert asked.version == self.version(name)
                assert thing not in self.at.values()
                self.done(name, thing, room)
            else:  # the very question that was answered before
                assert (before, self.rooms[name], asked.version) == (thing, room, self.version(name) - 1)

    @rule(name=NAMES, thing=THINGS, off=OFF)
    def swap(self, name: DeviceId, thing: str, off: int) -> None:
        asked = ana(max(0, self.version(name) + off))
        before, facts = self.at.get(name), self.facts
        address = Address(ZIGBEE, friendly_name=thing)
        try:
            answer = self.run(self.life.desk.swap(name, LAMP, address, asked, accept_less=False, found_id=None))
        except ChangedMeanwhileError:
            assert asked.version != self.version(name)
        except UnknownDeviceError:
            assert before is None
        except BindingRefusedError:
            assert thing in self.at.values()
        else:
            if answer["fact"]["n"] > facts:
                assert before is not None
                assert thing not in self.at.values()
                self.done(name, thing)
            else:
                assert (before, asked.version) == (thing, self.version(name) - 1)

    @rule(name=NAMES, off=OFF)
    def unbind(self, name: DeviceId, off: int) -> None:
        asked = ana(max(0, self.version(name) + off))
        facts = self.facts
        try:
            answer = self.run(self.life.desk.unbind(name, asked))
        except ChangedMeanwhileError:
            assert asked.version != self.version(name)
        except UnknownDeviceError:
            assert self.at.get(name) is None
        else:
            if answer["fact"]["n"] > facts:
                assert self.at[name] is not None
                self.done(name, None)
            else:
                assert self.at[name] is None

    @rule(name=NAMES)
    def two_engineers_at_once(self, name: DeviceId) -> None:
        """Both saw the same version: one of them at most is obeyed, the other is told."""
        seen, before = self.version(name), self.at.get(name)

        async def both() -> list[Any]:
            ask = self.life.desk
            first = ask.unbind(name, ana(seen))
            second = ask.swap(
                name,
                LAMP,
                Address(ZIGBEE, friendly_name="radio-9"),
                ana(seen, by="ben"),
                accept_less=False,
                found_id=None,
            )
            return list(await asyncio.gather(first, second, return_exceptions=True))

        answers = self.run(both())
        obeyed = [each for each in answers if isinstance(each, dict) and each["fact"]["n"] > self.facts]
        assert len(obeyed) == (0 if before is None else 1)
        if obeyed:
            [fact] = [each["fact"] for each in obeyed]
            self.done(name, fact["place"]["address"]["friendly_name"] if "place" in fact else None)
            assert sum(isinstance(each, ChangedMeanwhileError) for each in answers) == 1
            if self.at[name] == "radio-9":  # free the address for the next time
                self.run(self.life.desk.unbind(name, ana(self.version(name))))
                self.done(name, None)

    @rule(name=NAMES)
    def full_disk(self, name: DeviceId) -> None:
        """A fact that is not durable has no effect."""
        self.life.building.log.fail = True
        with suppress(UnknownDeviceError, StoreFailedError):
            answer = self.run(self.life.desk.unbind(name, ana(self.version(name), by="nobody")))
            raise AssertionError(answer)
        self.life.building.log.fail = False

    @rule()
    def kill(self) -> None:
        self.run(self.life.again())

    @rule(copy_too=st.booleans())
    def lose_the_store(self, copy_too: bool) -> None:
        """edge.db is gone, and perhaps the copy: lane A has every fact."""

        async def lose() -> None:
            await self.life.building.store.close()
            for path in self.folder.glob("edge.db*"):
                path.unlink()
            if copy_too:
                (self.folder / "bindings.json").unlink(missing_ok=True)
            self.life.building.house = self.life.building._new()
            await self.life._begin()

        self.run(lose())

    @invariant()
    def what_is_in_force_is_what_was_asked(self) -> None:
        if not hasattr(self, "life"):
            return
        plan = self.life.building.house.plan
        assert plan is not None
        assert {each.id: each.address.friendly_name for each in plan.devices} == {
            name: address for name, address in self.at.items() if address is not None
        }
        for each in plan.devices:
            assert each.room == self.rooms[each.id]
            assert self.life.building.house.view.room_of(each.id) == each.room
        for name, address in self.at.items():
            if address is None:
                assert self.life.building.house.view.room_of(DeviceId(name)) is None
            assert self.life.building.house.book.version(DeviceId(name)) == self.version(name)

    @invariant()
    def lane_a_has_every_fact_once_and_in_order(self) -> None:
        if not hasattr(self, "life"):
            return
        records = self.life.building.log.records(Lane.A, "binding")
        assert [each.body["n"] for each in records] == list(range(1, self.facts + 1))


TestBindings = pytest.mark.requirement("DEV-01")(pytest.mark.guarantee("G2")(Bindings.TestCase))
TestBindings.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_room_that_the_house_does_not_have_is_refused(tmp_path: Path) -> None:
    async def ask() -> None:
        life = await Life.begin(tmp_path)
        with pytest.raises(BindingRefusedError, match="none of the plan's rooms"):
            await life.desk.bind(DeviceId("lamp"), lamp(RoomId("999")), ana(), found_id=None)
        assert life.building.log.records(Lane.A, "binding") == []
        await life.end()

    asyncio.run(ask())
