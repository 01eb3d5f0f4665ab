"""`innkeeper descriptor announced`: the page of a device from its own word."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.bridges.mqtt.announced_registry import Registry
from firmware_bridges.announced.recorded import files, load
from protocols.device_model.identity import BusId
from protocols.device_model.site_plan import HomeAssistantBus
from protocols.errors import InvalidInputError
from provisioning.cli.main import app
from provisioning.descriptors.announced import pages, read

PREFIX = "homeassistant"
SWITCH = {"dev": {"ids": "p", "name": "Plug | 1", "mf": "Maker"}, "uniq_id": "s", "cmd_t": "p/set", "stat_t": "p"}


@pytest.mark.parametrize("path", files(), ids=lambda each: each.stem)
def test_the_page_has_every_name_that_the_edge_gives_and_everything_that_it_leaves(path: Path) -> None:
    recorded = load(path)
    registry = Registry(HomeAssistantBus(BusId("announced"), recorded.topics))
    for topic, config in recorded.announced:
        registry.take(topic, config)
    [thing] = registry.things()
    page = pages(read(path, PREFIX))
    for point in thing.points:
        name = f"| {point.capability.value}.{point.attribute} | `"
        assert page.count(f"{name}{point.topic}`") == 1
        assert page.count(name) == 1 + (point.write is not None)
    for part, why in thing.refused:
        assert f"| {part} | {why.replace('|', chr(92) + '|')} |" in page
    assert ("Nothing: all of it is taken." in page) == (not thing.refused)


def test_what_a_broker_prints_is_read_and_devices_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "heard.txt"
    other = {**SWITCH, "dev": {"ids": "q", "name": "Other"}, "uniq_id": "t"}
    lines = [
        f"homeassistant/switch/p/s/config {json.dumps(SWITCH)}",
        "p ON",
        f"homeassistant/switch/q/s/config {json.dumps(other)}",
        f"homeassistant/sensor/p/w/config {json.dumps({'dev': SWITCH['dev'], 'dev_cla': 'power', 'stat_t': 'p/w'})}",
        "homeassistant/status online",
        "",
    ]
    file.write_text("\n".join(lines))
    result = CliRunner().invoke(app, ["descriptor", "announced", str(file)])
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if line.startswith("# ")] == [
        "# Maker Plug | 1",
        "# Maker not said Other",
    ]
    assert "on_off.on_off | `p` | the message | ON = True, OFF = False |" in result.stdout
    assert "on_off.on_off | `p/set` | True: `ON`, False: `OFF` | its words |" in result.stdout
    assert "unit_of_measurement" in result.stdout
    out = tmp_path / "page.md"
    CliRunner().invoke(app, ["descriptor", "announced", str(file), "--out", str(out)])
    assert out.read_text() == result.stdout


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no announcement"),
        ("7", "neither topics"),
        ("[[1, 2]]", "no pair"),
        ('{"announced": {"a/b": {}}}', "holds no announcement under homeassistant/"),
        ('{"homeassistant/switch/s/config": "[]"}', "no JSON object"),
        ("homeassistant/switch/s/config {", "no JSON"),
        ("\x00\xff", "holds no announcement"),
    ],
)
def test_what_holds_no_announcement_is_refused_with_its_name(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "heard"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInputError, match=problem) as refused:
        read(file, PREFIX)
    assert str(file) in str(refused.value)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read(tmp_path / "nothing", PREFIX)
