"""What was met: what the evidence makes of it, and where it may belong."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.binding.found import found
from edge.bridges.ports import DeviceEvent
from protocols.device_model.binding import Place
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import Address, BleAdvertBus, ModbusTcpBus, MqttDevicesBus, SitePlan
from tests.edge.binding.desk import CATALOGUE, CONTACT, LAMP, Life, ana, lamp, real
from tests.edge.world import plan


def site() -> SitePlan:
    base = real(plan(rooms=4))
    more = (ModbusTcpBus("climate", "127.0.0.1", 502), BleAdvertBus("air", "gw"), MqttDevicesBus("own"))  # type: ignore[arg-type]  # names
    return msgspec.structs.replace(base, buses=(*base.buses, *more))


def seen(**detail: Any) -> Any:
    return found(DeviceId("x"), detail, since_ms=1, site=site(), catalogue=CATALOGUE)


@pytest.mark.parametrize(
    ("detail", "address", "likely"),
    [
        ({"bus": "zigbee", "friendly_name": "a", "model": "LED1545G12"}, {"friendly_name": "a"}, str(LAMP)),
        ({"bus": "zigbee", "friendly_name": "a", "ieee": "0x00158d0001"}, {"friendly_name": "a"}, None),
        ({"bus": "climate", "unit": 7, "descriptor": "regin/rcf_230", "confidence": 0.9}, {"unit": 7}, "regin/rcf_230"),
        ({"bus": "climate", "unit": 9, "vendor": "Eastron", "model": "SDM 630"}, {"unit": 9}, "eastron/sdm630"),
        (
            {"bus": "air", "mac": "aa:bb:cc:dd:ee:ff", "encoding": "ruuvi_5"},
            {"mac": "aa:bb:cc:dd:ee:ff"},
            "ruuvi/ruuvitag",
        ),
        (
            {
                "bus": "mdns",
                "service": "_shelly._tcp",
                "name": "ShellyPlus1PM-441793AABBCC",
                "vendor": "Shelly",
                "model": "Plus1PM",
            },
            {"friendly_name": "shellyplus1pm-441793aabbcc", "bus": "own"},
            "shelly/plus_1pm",
        ),
        (
            {"bus": "mdns", "service": "_shelly._tcp", "name": "Bathroom 102", "id": "shellyplus1pm-441793aabbcc"},
            {"friendly_name": "shellyplus1pm-441793aabbcc", "bus": "own"},
            None,
        ),
        (
            {"bus": "mdns", "service": "_esphomelib._tcp", "name": "Climate-102", "vendor": "ESPHome"},
            {"friendly_name": "Climate-102", "bus": "own"},
            None,
        ),
        ({"bus": "mdns", "service": "_shelly._tcp", "name": "a/#"}, None, None),
        ({"bus": "mdns", "service": "_shelly._tcp", "name": 7}, None, None),
        ({"bus": "mdns", "service": "_http._tcp", "name": "printer-102"}, None, None),
        ({"bus": "climate", "unit": 300}, None, None),
        ({"bus": "air", "mac": "AA:BB"}, None, None),
        ({"bus": "zigbee", "friendly_name": "bridge/info"}, None, None),
    ],
)
def test_evidence_gives_an_address_and_the_likely_model_or_neither(
    detail: dict[str, Any], address: dict[str, Any] | None, likely: str | None
) -> None:
    thing = seen(**detail)
    told = None if thing.address is None else {k: getattr(thing.address, k) for k in (address or {})}
    assert told == address
    assert (thing.candidates[0].descriptor if thing.candidates else None) == likely


def test_of_adverts_that_fit_two_models_both_are_told_and_neither_is_sure() -> None:
    likely = seen(bus="air", mac="aa:bb:cc:dd:ee:ff", encoding="bthome_v2").candidates
    assert len(likely) > 1
    assert likely[0].confidence == likely[1].confidence


@given(
    st.dictionaries(
        st.sampled_from(
            ["bus", "unit", "ieee", "friendly_name", "node", "mac", "model", "vendor", "confidence", "descriptor"]
        ),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=20),
            st.sampled_from(["zigbee", "climate", "air"]),
        ),
    )
)
def test_any_evidence_is_told_and_raises_nothing(detail: dict[str, Any]) -> None:
    thing = seen(**detail)
    assert thing.address is None or thing.address.bus == detail["bus"]


async def test_a_name_that_holds_a_room_and_the_only_silent_lamp_there_propose_a_swap(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path)
    for each in life.ids():
        if each != "light-102":
            life.devices.device_event(DeviceId(each), DeviceEvent.ONLINE, {})
    life.met("lamp/102")
    [told] = life.desk.found()
    first = told["proposals"][0]
    assert (first["act"], first["device"], first["room"], first["descriptor"]) == ("swap", "light-102", "102", LAMP)
    assert any("light-102" in each for each in first["reasons"])
    assert 0.8 <= first["confidence"] < 1
    await life.end()


async def test_a_radio_that_stood_there_before_is_proposed_its_old_name(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path)
    place = lamp("101", "spare", ieee="0x00158d00000000aa")
    await life.desk.bind(DeviceId("spare-lamp"), place, ana(), found_id=None)
    await life.desk.unbind(DeviceId("spare-lamp"), ana(1))
    life.met("0x00158d00000000aa", ieee="0x00158d00000000aa")
    proposals = life.desk.found()[0]["proposals"]
    assert (proposals[0]["act"], proposals[0]["device"], proposals[0]["version"]) == ("bind", "spare-lamp", 2)
    await life.desk.bind(DeviceId("spare-lamp"), place, ana(2), found_id=DeviceId("0x00158d00000000aa"))
    assert life.desk.found() == []  # it stands behind a name
    assert [each["act"] for each in life.desk.device(DeviceId("spare-lamp"))["facts"]] == ["bound", "unbound", "bound"]
    await life.end()


async def test_what_answers_where_a_name_stood_is_proposed_that_name(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path)
    await life.desk.unbind(DeviceId("light-102"), ana())
    life.met("light-102", ieee=None, model=None)
    first = life.desk.found()[0]["proposals"][0]
    assert (first["device"], first["room"], first["version"]) == ("light-102", "102", 1)
    assert "it answers where was light-102" in first["reasons"]
    await life.end()


async def test_another_model_in_a_device_s_place_is_found_there(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path)
    detail = {"bus": "zigbee", "friendly_name": "light-101", "model": "MCCGQ11LM", "expected": "LED1545G12"}
    life.devices.device_event(DeviceId("light-101"), DeviceEvent.UNKNOWN_DEVICE, detail)
    [told] = life.desk.found()
    assert (told["stands_at"], told["candidates"][0]["descriptor"]) == ("light-101", CONTACT)
    assert told["proposals"][0]["device"] == "light-101"
    await life.end()


async def test_what_speaks_for_no_room_is_proposed_nowhere(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path)
    for each in life.ids():
        life.devices.device_event(DeviceId(each), DeviceEvent.ONLINE, {})
    life.met("0x00158d00000000aa")
    assert life.desk.found()[0]["proposals"] == []
    await life.end()


async def test_what_announces_itself_is_proposed_on_the_broker_and_gone_once_it_is_bound(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path)
    own = MqttDevicesBus(BusId("own"))
    life.building.plan = msgspec.structs.replace(life.building.plan, buses=(*life.building.plan.buses, own))
    await life.again()
    detail = {
        "bus": "mdns",
        "service": "_shelly._tcp",
        "name": "ShellyPlus1PM-102",
        "vendor": "Shelly",
        "model": "Plus1PM",
    }
    life.devices.device_event(DeviceId("mdns-1"), DeviceEvent.UNKNOWN_DEVICE, detail)
    [thing] = life.desk.found()
    assert thing["address"] == {"bus": "own", "friendly_name": "shellyplus1pm-102"}
    assert thing["evidence"] == detail
    [proposal] = thing["proposals"]
    assert (proposal["act"], proposal["room"], proposal["descriptor"]) == ("bind", "102", "shelly/plus_1pm")
    place = Place(RoomId("102"), DescriptorId("shelly/plus_1pm"), Address(own.id, friendly_name="shellyplus1pm-102"))
    await life.desk.bind(DeviceId(proposal["device"]), place, ana(), found_id=DeviceId("mdns-1"))
    assert life.desk.found() == []
    life.devices.device_event(DeviceId("mdns-1"), DeviceEvent.UNKNOWN_DEVICE, detail)  # it announces itself for ever
    assert life.desk.found() == []
    await life.end()


def test_a_house_with_two_places_for_it_is_not_guessed_at() -> None:
    two = msgspec.structs.replace(site(), buses=(*site().buses, MqttDevicesBus(BusId("own-2"))))
    detail = {"bus": "mdns", "service": "_shelly._tcp", "name": "shellyplus1pm-102", "model": "Plus1PM"}
    thing = found(DeviceId("x"), detail, since_ms=1, site=two, catalogue=CATALOGUE)
    assert (thing.bus, thing.address, thing.candidates) == (None, None, ())
