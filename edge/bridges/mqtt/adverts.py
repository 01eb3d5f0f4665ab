"""Hears sensors that advertise, through gateways that publish every advert on the site broker.

Several gateways hear one advert: the second one changes nothing. An advert of another encoding on a planned address, or
one under a key that is missing, is told once as a bad reading; sensors that no plan names are told once, with the
gateway that hears them. Of a sensor with a key only what it opens is believed, and no number twice, over restarts of
the edge too (decisions 0137, 0145).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from msgspec import structs

from edge.bridges.evidence import unknown_id
from edge.bridges.firmware import Running
from edge.bridges.mqtt.broker_bus import BrokerBus, Member
from edge.bridges.mqtt.bus_memory import BusMemory, Counted
from edge.bridges.ports import UNKNOWN_UNTOLD, DeviceEvent, ReadingSink
from edge.bridges.write_desk import Job
from kit.clock import Clock
from kit.dice import Dice
from kit.net import Message, Transport
from protocols.descriptors import adverts, gateway
from protocols.descriptors.codec import Reason, bad, reading, readings_of_fields
from protocols.descriptors.descriptor import Descriptor
from protocols.descriptors.sealed_adverts import COUNTER, SHORT_COUNTER, is_older
from protocols.descriptors.wires import BleAdvertWire
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Address, BleAdvertBus
from protocols.errors import PeerProtocolError

UNKNOWN_MAX: Final = 1_000
KNOWN_ENCODINGS: Final = ("bthome_v2", "pvvx", "atc1441", "ruuvi_5", "govee_h5075", "mibeacon")

_CLOSED: Final = (Reason.ENCRYPTED, Reason.WRONG_KEY)
_WRONG_KEY_HELP: Final = (
    "its key in advert_keys_path does not open what it says: another sensor's key, or it was paired anew since; the"
    " maker's app shows the key that it has now"
)
_FORGED_HELP: Final = "its key opens other adverts and not this one: somebody else's on its address, or garbled"
_CLEAR_HELP: Final = (
    "speaks in the clear although it has a key: somebody else does, or it was reset; then take its key out of"
    " advert_keys_path"
)
_OLDER_HELP: Final = (
    "says an older number than before: a recording, or it has a new battery; believed after its silence"
)


@dataclass(slots=True)
class _Sensor(Member):
    encoding: str = ""
    heard_at_s: int = 0


class AdvertSupervisor(BrokerBus):
    """See `BrokerBus`.

    Args:
        bus: its name, and where gateways publish.
        devices: device, address and descriptor of everything on it.
        transport: the way to the site broker.
        clock: both clocks.
        dice: for pauses.
        sink: where readings and events go.
        keys: of sensors that encrypt what they say, by address.
        memory: what the bus has heard and told before.
    """

    def __init__(
        self,
        bus: BleAdvertBus,
        devices: Sequence[tuple[DeviceId, Address, Descriptor]],
        *,
        keys: Mapping[str, bytes] | None = None,
        transport: Transport,
        clock: Clock,
        dice: Dice,
        sink: ReadingSink,
        memory: BusMemory | None = None,
    ) -> None:
        self._base, self._keys = bus.base_topic, dict(keys or {})
        self._sensors: dict[str, _Sensor] = {}
        for device, address, descriptor in devices:
            wire = descriptor.wire
            if not isinstance(wire, BleAdvertWire):
                raise TypeError(f"{descriptor.id} does not advertise")
            mac = address.mac or ""
            place = f"{mac} {_mark(self._keys.get(mac))}"  # paired anew it counts anew
            self._sensors[mac] = _Sensor(
                device, Running(descriptor), wire.silence_s, place=place, encoding=wire.encoding
            )
        sensors = self._sensors.values()
        super().__init__(bus.id, sensors, transport=transport, clock=clock, dice=dice, sink=sink, memory=memory)

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:  # noqa: ARG002 - the port's parameter
        """No: a sensor that advertises does not listen."""
        return False

    async def write(self, command: Command) -> Outcome:
        """Fail: nothing was sent."""
        return Outcome(Phase.FAILED, None, f"{command.device} advertises and does not listen")

    async def _perform(self, job: Job) -> Outcome:
        """Fail: no point of an advert can be written."""
        return await self.write(job.command)

    def _named(self) -> list[str]:
        return list(self._sensors)

    def _filters(self) -> list[str]:
        return [f"{self._base}/+/+"]

    def _take(self, message: Message) -> None:
        try:
            heard = gateway.read(self._base, message.topic, message.payload)
        except PeerProtocolError as error:
            self._complaints.refused("malformed_messages", message.topic, error)
            return
        if heard is None:
            self._counts["foreign_topics"] += 1
        elif message.retain:
            self._counts["kept_adverts"] += 1  # of unknown age, and the next is seconds away
        elif (sensor := self._sensors.get(heard.mac)) is None:
            self._strange(heard)
        else:
            self._heard(sensor, heard)

    def _heard(self, sensor: _Sensor, heard: gateway.Heard) -> None:
        said = adverts.decode(sensor.encoding, heard.advert, mac=heard.mac, key=self._keys.get(heard.mac))
        if said is None:
            self._counts["adverts_of_another_kind"] += 1  # a name, a button: the same sensor says many things
            return
        # A gateway whose clock runs ahead must not make the others' adverts look old.
        at_s = None if heard.at_s is None else min(heard.at_s, self._clock.wall_ms() // 1000)
        late_s = 0 if at_s is None else sensor.heard_at_s - at_s
        if 0 < late_s < sensor.silence_s:
            self._counts["out_of_order"] += 1
            return
        if heard.mac in self._keys:
            belief = self._belief(sensor, heard.mac, said)
            if belief is None:
                return
            if belief is Quality.UNCERTAIN and not isinstance(said, Reason):
                self._told_before(sensor, said)
                return
        sensor.heard_at_s = at_s or 0
        now_ms = sensor.heard_ms = self._clock.now_ms()
        if isinstance(said, Reason):
            found = [reading(point, sensor.device, bad(said)) for point in sensor.descriptor.points]
        else:
            found = readings_of_fields(sensor.descriptor, sensor.device, said)
            self._online(sensor)
        for each in found:
            self._reporter.take(each, now_ms=now_ms)

    def _told_before(self, sensor: _Sensor, said: adverts.Fields) -> None:
        """Take its last word before this life of the edge, said again: true then, and no sign of life."""
        now_ms = self._clock.now_ms()
        for each in readings_of_fields(sensor.descriptor, sensor.device, said):
            told = each
            if each.quality is Quality.GOOD:
                told = structs.replace(each, quality=Quality.UNCERTAIN, reason=Reason.RETAINED.value)
            self._reporter.take(told, now_ms=now_ms)

    def _belief(self, sensor: _Sensor, mac: str, said: adverts.Fields | Reason) -> Quality | None:
        """Return how far an advert of a sensor with a key is believed, None if not: its own, and no older recording.

        A sensor may count from the beginning after a new battery: behind its own silence any other number is believed.
        What its key does not open is told of a sensor that it has not opened for so long, and of no other: a stranger,
        or one garbled advert, is not to take a good value away.
        """
        now_ms, silence_ms = self._clock.now_ms(), round(sensor.silence_s * 1000)
        before = self._memory.number(sensor.device)
        long_ago = before is None or now_ms - before.at_ms >= silence_ms
        if isinstance(said, Reason):
            known = said is Reason.WRONG_KEY and long_ago
            self._complaints.refused("not_under_its_key", mac, _WRONG_KEY_HELP if known else _FORGED_HELP)
            return Quality.GOOD if long_ago else None
        name = SHORT_COUNTER if SHORT_COUNTER in said else COUNTER
        number = said.get(name)
        if number is None:
            self._complaints.refused("in_the_clear", mac, _CLEAR_HELP)
            return None
        number = int(number)
        if before is not None and number == before.number:
            self._counts["repeated_adverts"] += 1  # that it is heard again does not say that it is alive
            if not before.kept:
                return None
            self._memory.count(sensor.device, replace(before, kept=False))
            return Quality.UNCERTAIN
        older = before is not None and is_older(number, before.number, short=before.short)
        if older:
            self._complaints.refused("older_numbers", mac, _OLDER_HELP)
            if not long_ago:
                return None
        counted = Counted(number, name == SHORT_COUNTER, now_ms, self._clock.wall_ms())
        self._memory.count(sensor.device, counted, anew=older)
        return Quality.GOOD

    def _strange(self, heard: gateway.Heard) -> None:
        if self._memory.told(heard.mac) is not None:
            return
        key = self._keys.get(heard.mac)
        told = {each: adverts.decode(each, heard.advert, mac=heard.mac, key=key) for each in KNOWN_ENCODINGS}
        # Behind a key that this house does not have it is a sensor all the same: it is found, and its key is missing.
        known = [name for name, said in told.items() if isinstance(said, dict) or said in _CLOSED]
        if not known:
            return  # every telephone in the house advertises
        if self._memory.found >= UNKNOWN_MAX:
            self._complaints.refused(UNKNOWN_UNTOLD, self._base, f"{heard.mac} is one too many")
            return
        self._memory.tell(heard.mac)
        facts = {
            "mac": heard.mac,
            "encoding": known[0],
            "gateway": heard.gateway,
            "rssi_dbm": heard.rssi_dbm,
            "advert": heard.advert.hex(),
            **({"encrypted": str(said)} if (said := told[known[0]]) in _CLOSED else {}),
        }
        self._event(unknown_id(self._name, heard.mac, None), DeviceEvent.UNKNOWN_DEVICE, facts)


def _mark(key: bytes | None) -> str:
    """Return what tells one key from another, and tells nobody the key."""
    return "" if key is None else hashlib.sha256(key).hexdigest()
