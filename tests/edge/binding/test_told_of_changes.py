"""Whoever speaks of devices to others hears of a binding when it is made, not at the next start of the edge."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from edge.app.facades import told_of_changes
from edge.app.settings import EdgeSettings
from edge.bridges.mqtt.json_bus import JsonBus
from edge.northbound.home_assistant_facade import HomeAssistantFacade
from edge.northbound.settings import HomeAssistantSettings
from edge.northbound.sparkplug_facade import SparkplugFacade
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.site_plan import SitePlan
from tests.edge.binding.desk import CATALOGUE, Life, ana, lamp
from tests.edge.bridges.field import plan


@pytest.mark.requirement("DEV-02")
async def test_a_binding_is_told_with_the_plan_as_it_is_and_nothing_is_pending(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path)
    told: list[SitePlan] = []
    life.desk.changed = told.append
    done = await life.desk.bind(DeviceId("new-lamp"), lamp(), ana(), found_id=None)
    assert done["pending"] == []
    assert [each.id for each in told[0].devices_on(lamp().address.bus)][-1] == "new-lamp"
    await life.desk.unbind(DeviceId("new-lamp"), ana(1))
    assert [[each.id for each in plan.devices].count(DeviceId("new-lamp")) for plan in told] == [1, 0]
    await life.end()


def test_every_facade_and_the_json_bus_are_told() -> None:
    settings = Mock(spec=EdgeSettings, home_assistant=HomeAssistantSettings(base="hotel", discovery="entity"))
    facades = {"home-assistant": Mock(spec=HomeAssistantFacade), "sparkplug": Mock(spec=SparkplugFacade)}
    json_bus = Mock(spec=JsonBus)
    house = plan(zigbee=True)
    told_of_changes(settings, CATALOGUE, facades, json_bus)(house)
    [form] = facades["home-assistant"].serve.call_args.args
    assert all(topic.startswith(("hotel/aurora/", "homeassistant/")) for topic in form.topics(form.announced()))
    facades["sparkplug"].serve.assert_called_once_with(house, CATALOGUE)
    json_bus.serve.assert_called_once_with({each.id: each.room for each in house.devices})
    assert RoomId("101") in json_bus.serve.call_args.args[0].values()
