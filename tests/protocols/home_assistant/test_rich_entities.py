"""Lamps with colours, fans, slats, presets: what has a Matter name is mapped, and the rest is told by its name."""

import colorsys
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.descriptors.codec import Allowed, allow
from protocols.device_model.capability import Value
from protocols.errors import LocalProtocolError
from protocols.home_assistant.codec import payload_of, readings_of_message, settled
from protocols.home_assistant.entities import AnnouncedPoint
from protocols.home_assistant.senses import SENSES
from tests.protocols.home_assistant.test_entities import DEVICE, points, said, taken

WARMTH = "color_control.color_temperature_mireds"
HUE, SATURATION = "color_control.current_hue", "color_control.current_saturation"
X, Y = "color_control.current_x", "color_control.current_y"
TILT = "window_covering.current_position_tilt_percentage"
LIFT = "window_covering.current_position_lift_percentage"


def refused(component: str, **options: Any) -> dict[str, str]:
    return dict(taken(component, name="It", **options).refused)


def sent(point: AnnouncedPoint, value: Value) -> bytes:
    """What goes out for a wish, as the write desk lets it pass."""
    allowed = allow(point, value)
    assert isinstance(allowed, Allowed), allowed
    return payload_of(point, allowed.value)


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize(
    ("modes", "colour", "wanted"),
    [
        (["hs"], {"h": 210.5, "s": 80}, {HUE: 210.5, SATURATION: 80}),
        (["xy", "color_temp"], {"x": 0.6942, "y": 0.2963}, {X: 0.6942, Y: 0.2963}),
        (["rgb"], {"r": 0, "g": 0, "b": 255}, {HUE: 240.0, SATURATION: 100.0}),
        (["rgbw"], {"r": 255, "g": 128, "b": 128, "w": 9}, {HUE: 0.0, SATURATION: 49.8}),
        (["rgbww"], {"r": 255, "g": 255, "b": 0, "c": 1, "w": 9}, {HUE: 60.0, SATURATION: 100.0}),
        (["hs", "xy"], {"h": 10, "s": 20, "x": 0.3, "y": 0.3}, {HUE: 10, SATURATION: 20}),
    ],
)
def test_a_colour_in_json_is_read_and_either_half_of_it_commanded(
    modes: list[str], colour: dict[str, float], wanted: dict[str, float]
) -> None:
    found = points("light", schema="json", stat_t="l", cmd_t="l/set", sup_clrm=modes)
    state = json.dumps({"state": "ON", "color_mode": modes[0], "color": colour})
    assert {name: said(point, state) for name, point in found.items() if name in (HUE, SATURATION, X, Y)} == {
        name: (value, "good") for name, value in wanted.items()
    }
    assert all(found[name].write is not None for name in wanted)
    assert refused("light", schema="json", cmd_t="l", sup_clrm=modes) == {}
    assert "level_control.current_level" in found, "what has a colour can be dimmed"
    for name in wanted:
        assert said(found[name], '{"state":"ON"}') is None
        assert said(found[name], '{"color":{"h":"red","x":null,"y":null,"s":[],"r":999,"g":1,"b":1}}') in (
            (None, "bad"), None,
        )  # fmt: skip
        with pytest.raises(LocalProtocolError):
            payload_of(found[name], "red")


@pytest.mark.guarantee("G17")
def test_a_lamp_says_of_white_and_of_colour_what_it_shows_and_not_what_the_other_would_be() -> None:
    found = points("light", schema="json", stat_t="l", cmd_t="l/set", sup_clrm=["xy", "color_temp"])
    both = {"state": "ON", "color": {"x": 0.69, "y": 0.29}, "color_temp": 250}
    white, red = json.dumps({**both, "color_mode": "color_temp"}), json.dumps({**both, "color_mode": "xy"})
    assert (said(found[WARMTH], white), said(found[X], white)) == ((250, "good"), None)
    assert (said(found[WARMTH], red), said(found[X], red)) == (None, (0.69, "good"))
    assert said(found[WARMTH], json.dumps(both)) == (250, "good"), "one that names no mode is believed"


MODE = "color_control.color_mode"


def test_a_lamp_with_both_says_whether_its_white_or_its_colour_holds() -> None:
    found = points("light", schema="json", stat_t="l", cmd_t="l/set", sup_clrm=["rgb", "color_temp"])[MODE]
    assert found.write is None
    for mode, meant in (
        ("color_temp", ("color_temperature_mireds", "good")),
        ("rgb", ("current_hue_and_current_saturation", "good")),
        ("xy", ("current_x_and_current_y", "good")),
        ("disco", (None, "bad")),
    ):
        assert said(found, json.dumps({"state": "ON", "color_mode": mode})) == meant
    for silent in ('{"state":"ON"}', '{"state":"ON","color_mode":"white"}'):
        assert said(found, silent) is None
    assert MODE not in points("light", schema="json", stat_t="l", cmd_t="l/set", sup_clrm=["color_temp"])
    own = {"cmd_t": "l/set", "hs_stat_t": "l/hs", "hs_cmd_t": "l/hs/set", "clrm_stat_t": "l/mode"}
    assert MODE not in points("light", **own)
    both = points("light", **own, clr_temp_stat_t="l/ct", clr_temp_cmd_t="l/ct/set")[MODE]
    assert (both.topic, said(both, "hs")) == ("l/mode", ("current_hue_and_current_saturation", "good"))
    templated = points("light", **own, clr_temp_stat_t="l/ct", clrm_val_tpl="{{ value_json.m }}")[MODE]
    assert said(templated, '{"m":"color_temp"}') == ("color_temperature_mireds", "good")


def test_flags_of_before_there_were_colour_modes_are_read() -> None:
    found = points("light", schema="json", stat_t="l", cmd_t="l/set", brightness=True, color_temp=True, rgb=True)
    assert {WARMTH, HUE, SATURATION} <= found.keys()


@pytest.mark.parametrize(
    ("topic", "payload", "wanted"),
    [
        ("hs", "210.5,80", {HUE: 210.5, SATURATION: 80}),
        ("xy", "0.31, 0.32", {X: 0.31, Y: 0.32}),
        ("rgb", "255,0,255", {HUE: 300.0, SATURATION: 100.0}),
        ("rgbw", "0,255,0,17", {HUE: 120.0, SATURATION: 100.0}),
        ("rgbww", "0,255,255,1,2", {HUE: 180.0, SATURATION: 100.0}),
    ],
)
def test_a_colour_on_a_topic_of_its_own_is_read(topic: str, payload: str, wanted: dict[str, float]) -> None:
    options = {"cmd_t": "l/set", f"{topic}_stat_t": "l/colour", f"{topic}_cmd_t": "l/colour/set"}
    found = points("light", **options)
    assert {name: said(found[name], payload) for name in wanted} == {
        name: (value, "good") for name, value in wanted.items()
    }
    for nonsense in ("red", "1", "1,2,3,4,5,6", "256,-1,0", "nan,nan,nan", ",,", "1_0,2,3", "1," * 80):
        assert all(said(found[name], nonsense) == (None, "bad") for name in wanted)
    assert all(found[name].write is not None for name in wanted)
    assert refused("light", **options) == {}
    del options[f"{topic}_cmd_t"]
    assert all(each.write is None for name, each in points("light", **options).items() if name in wanted)


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize(
    ("form", "name", "value", "beside", "plainly", "in_json"),
    [
        ("hs", HUE, 210, 80.0, "210,80", {"h": 210, "s": 80}),
        ("hs", SATURATION, 33, 24.5, "24.5,33", {"h": 24.5, "s": 33}),
        ("hs", HUE, 120, None, "120,100", {"h": 120, "s": 100}),
        ("xy", X, 0.6942, 0.2963, "0.6942,0.2963", {"x": 0.6942, "y": 0.2963}),
        ("xy", Y, 0.31, None, "0.3127,0.31", {"x": 0.3127, "y": 0.31}),
        ("rgb", HUE, 240, 100.0, "0,0,255", {"r": 0, "g": 0, "b": 255}),
        ("rgb", SATURATION, 50, 0.0, "255,128,128", {"r": 255, "g": 128, "b": 128}),
        ("rgb", SATURATION, 0, 77.0, "255,255,255", {"r": 255, "g": 255, "b": 255}),
        ("rgbw", HUE, 60, None, "255,255,0,0", {"r": 255, "g": 255, "b": 0, "w": 0}),
        ("rgbww", HUE, 300, None, "255,0,255,0,0", {"r": 255, "g": 0, "b": 255, "c": 0, "w": 0}),
    ],
)
def test_a_half_of_a_colour_is_sent_with_the_other(  # noqa: PLR0917 - the parts
    form: str, name: str, value: float, beside: float | None, plainly: str, in_json: dict[str, float]
) -> None:
    own = {"cmd_t": "l/set", f"{form}_stat_t": "l/c", f"{form}_cmd_t": "l/c/set"}
    point = points("light", **own)[name]
    assert payload_of(point, value, beside=beside) == plainly.encode()
    point = points("light", schema="json", stat_t="l", cmd_t="l/set", sup_clrm=[form])[name]
    assert json.loads(payload_of(point, value, beside=beside)) == {"state": "ON", "color": in_json}
    for hostile in (True, "red"):
        with pytest.raises(LocalProtocolError):
            payload_of(point, hostile)


@pytest.mark.parametrize(
    ("form", "template", "name", "sent"),
    [
        ("hs", "{{ hue }};{{ sat }}", HUE, b"120;100"),
        ("xy", "{{ x }} {{ y }}", X, b"0.5 0.329"),
        ("rgb", "{{ '%s' }}{{ red }}{{ green }}{{ blue }}", HUE, b"%s02550"),
        ("rgbw", '{"rgbw":[{{ red }},{{ green }},{{ blue }},{{ white }}]}', HUE, b'{"rgbw":[0,255,0,0]}'),
        ("rgbww", "{{ cold_white }}{{ warm_white }}{{ green }}", HUE, b"00255"),
    ],
)
def test_a_colours_own_template_names_its_parts(form: str, template: str, name: str, sent: bytes) -> None:
    own = {"cmd_t": "l/set", f"{form}_cmd_t": "l/c/set", f"{form}_cmd_tpl": template}
    assert payload_of(points("light", **own)[name], 0.5 if name == X else 120) == sent


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 360), st.integers(0, 100), st.sampled_from(["rgb", "rgbw", "rgbww"]))
def test_what_is_sent_in_channels_is_read_back_as_what_was_asked_for(hue: int, saturation: int, form: str) -> None:
    found = points("light", cmd_t="l/set", **{f"{form}_stat_t": "l/c", f"{form}_cmd_t": "l/c/set"})
    payload = payload_of(found[HUE], hue, beside=saturation)
    assert payload == payload_of(found[SATURATION], saturation, beside=hue)
    red, green, blue, *_ = (int(each) for each in payload.split(b","))
    theirs = [round(255 * each) for each in colorsys.hsv_to_rgb(hue % 360 / 360, saturation / 100, 1)]
    assert all(abs(a - b) <= 1 for a, b in zip((red, green, blue), theirs, strict=True))
    told = {
        each.attribute: each.value for each in readings_of_message([found[HUE], found[SATURATION]], DEVICE, payload)
    }
    assert settled(found[SATURATION], saturation, told["current_saturation"])
    assert saturation == 0 or settled(found[HUE], hue, told["current_hue"], beside=saturation)


def test_a_hue_is_held_as_nearly_as_lamps_can_and_goes_round() -> None:
    point = points("light", cmd_t="l", hs_stat_t="l/c", hs_cmd_t="l/c/set")[HUE]
    assert settled(point, 359, 0.5)
    assert settled(point, 120, 121.4)
    assert not settled(point, 120, 123)
    assert not settled(point, 120, None)


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_hue_and_saturation_are_those_of_everybody_else(channels: tuple[int, ...]) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*(each / 255 for each in channels))
    text = ",".join(map(str, channels))
    mine = SENSES["hue"](text), SENSES["saturation"](text)
    if not value:
        assert mine == (None, None)
    elif not saturation:
        assert mine == (None, 0)
    else:
        assert mine[0] is not None
        assert mine[1] is not None
        assert min(abs(mine[0] - 360 * hue), 360 - abs(mine[0] - 360 * hue)) <= 0.051
        assert abs(mine[1] - 100 * saturation) <= 0.051


@pytest.mark.parametrize(
    "options",
    [
        {"schema": "json", "stat_t": "l", "sup_clrm": ["color_temp"]},
        {"clr_temp_stat_t": "l", "clr_temp_cmd_t": "l/set", "clr_temp_val_tpl": "{{ value_json.color_temp }}"},
    ],
    ids=["json", "default"],
)
def test_a_lamp_that_counts_in_kelvin_is_told_in_mireds_and_asked_in_kelvin(options: dict[str, Any]) -> None:
    point = points("light", cmd_t="l/set", color_temp_kelvin=True, min_k=2_203, max_k=6_500, **options)[WARMTH]
    assert said(point, '{"color_temp": 4000}') == (250, "good")
    assert said(point, '{"color_temp": 0}') == (None, "bad")
    assert said(point, '{"color_temp": "warm"}') == (None, "bad")
    assert point.write is not None
    assert (point.write.least, point.write.most) == (154, 453)
    assert b"4000" in sent(point, 250)
    for asked in (1, 154, 300, 453, 1_000):
        allowed = allow(point, asked)
        assert isinstance(allowed, Allowed)
        kelvin = int("".join(each for each in payload_of(point, allowed.value).decode() if each.isdigit()))
        assert 2_203 <= kelvin <= 6_500
        heard = said(point, json.dumps({"color_temp": kelvin}))
        assert heard is not None
        assert settled(point, allowed.value, heard[0])  # type: ignore[arg-type]  # a number


def test_effects_and_white_channels_are_told_by_name() -> None:
    told = refused(
        "light", schema="json", cmd_t="l", sup_clrm=["white", "rgb"], effect=True, effect_list=["blink", "candle"]
    )
    assert told["It effect"] == "not mapped: 'blink, candle': no attribute of the device model"
    assert told["It white"].startswith("not mapped")
    plain = refused("light", cmd_t="l", fx_cmd_t="l/fx", fx_stat_t="l/fx", fx_list=["a"], whit_cmd_t="l/w")
    assert plain["It effect"] == "not mapped: 'a': no attribute of the device model"
    assert plain["It white"].startswith("not mapped")
    assert len(plain) == 2


@pytest.mark.requirement("DEV-06")
def test_a_climates_presets_swings_and_strange_fan_words_are_told_by_name_and_the_rest_is_taken() -> None:
    options = {
        "curr_temp_t": "c/now", "curr_hum_t": "c/rh", "mode_cmd_t": "c/mode", "modes": ["off", "cool"],
        "pr_mode_cmd_t": "c/preset", "pr_mode_stat_t": "c/preset/s", "pr_modes": ["eco", "away"],
        "fan_mode_cmd_t": "c/fan", "fan_mode_stat_t": "c/fan/s", "fan_modes": ["auto", "Middle", "quiet", "turbo"],
        "swing_mode_cmd_t": "c/swing", "hum_cmd_t": "c/rh/set", "pow_cmd_t": "c/power", "json_attr_t": "c",
    }  # fmt: skip
    found, told = points("climate", **options), refused("climate", **options)
    assert said(found["relative_humidity_measurement.measured_value"], "41.5") == (41.5, "good")
    fan = found["fan_control.fan_mode"]
    assert (said(fan, "Middle"), said(fan, "turbo")) == (("medium", "good"), (None, "bad"))
    assert payload_of(fan, "medium") == b"Middle"
    assert isinstance(allow(fan, "high"), str)
    assert told == {
        "It preset_mode": "not mapped: 'eco, away': no attribute of the device model",
        "It fan_mode": "not mapped: 'quiet, turbo': no attribute of the device model",
        "It swing_mode": "not mapped: no attribute of the device model",
        "It target_humidity": "not mapped: no attribute of the device model",
        "It power": "not mapped: no attribute of the device model",
    }


@pytest.mark.requirement("DEV-05")
def test_a_fan_is_switched_by_its_mode_and_no_lamp_and_its_speed_is_per_cent() -> None:
    options = {
        "cmd_t": "f/set", "stat_t": "f", "stat_val_tpl": "{{ value_json.fan_state }}", "pct_stat_t": "f",
        "pct_cmd_t": "f/set/fan_mode", "spd_rng_max": 3,
        "pct_val_tpl": "{{ {'off':0, 'low':1, 'medium':2, 'high':3}[value_json['fan_mode']] | default('None') }}",
        "pct_cmd_tpl": "{{ {0:'off', 1:'low', 2:'medium', 3:'high'}[value] | default('') }}",
        "pr_mode_stat_t": "f", "pr_mode_cmd_t": "f/set/fan_mode", "pr_modes": ["auto", "smart", "baby"],
        "pr_mode_val_tpl": "{{ value_json.fan_mode if value_json.fan_mode in ['auto','smart'] else 'None' }}",
        "osc_cmd_t": "f/set/osc", "dir_cmd_t": "f/set/dir",
    }  # fmt: skip
    made = taken("fan", name="It", **options)
    by_part = {each.slot.rpartition("/")[2]: each for each in made.points}
    assert {each.capability.value for each in made.points} == {"fan_control"}, "or fire would start it"
    mode, speed, preset = by_part["mode"], by_part["percentage"], by_part["preset_mode"]
    assert (mode.attribute, speed.attribute, preset.attribute) == ("fan_mode", "percent_setting", "fan_mode")
    assert (said(mode, '{"fan_state":"ON"}'), said(mode, '{"fan_state":"OFF"}')) == (("on", "good"), ("off", "good"))
    assert (payload_of(mode, "off"), payload_of(mode, "on")) == (b"OFF", b"ON")
    assert isinstance(allow(mode, "low"), str)
    value = said(speed, '{"fan_mode":"medium"}')
    assert value == (pytest.approx(66.667, abs=0.001), "good")
    assert said(speed, '{"fan_mode":"auto"}') is None, "its speed is its own affair then"
    for asked, word in ((1, b"low"), (33, b"low"), (40, b"low"), (60, b"medium"), (66.6, b"medium"), (100, b"high")):
        assert sent(speed, asked) == word
        allowed = allow(speed, asked)
        assert isinstance(allowed, Allowed)
        heard = said(speed, json.dumps({"fan_mode": word.decode()}))
        assert heard is not None
        assert settled(speed, allowed.value, heard[0])  # type: ignore[arg-type]  # a number
    assert (said(preset, '{"fan_mode":"smart"}'), said(preset, '{"fan_mode":"low"}')) == (("smart", "good"), None)
    assert payload_of(preset, "auto") == b"auto"
    assert dict(made.refused) == {
        "It preset_mode": "not mapped: 'baby': no attribute of the device model",
        "It oscillation": "not mapped: no attribute of the device model",
        "It direction": "not mapped: no attribute of the device model",
    }


def test_a_fan_that_only_tells_its_speed_has_a_current_one_and_a_bare_one_a_mode() -> None:
    found = points("fan", cmd_t="f", pct_stat_t="f/p", spd_rng_min=1, spd_rng_max=255)
    assert said(found["fan_control.percent_current"], "255") == (pytest.approx(100), "good")
    assert said(found["fan_control.percent_current"], "0") == (pytest.approx(0), "good")
    assert points("fan", cmd_t="f").keys() == {"fan_control.fan_mode"}
    assert taken("fan", stat_t="f").points == []
    for wrong in ({"spd_rng_min": 0}, {"spd_rng_min": 5, "spd_rng_max": 5}, {"spd_rng_max": "fast"}):
        assert points("fan", cmd_t="f", pct_cmd_t="f/p", **wrong).keys() == {"fan_control.fan_mode"}


@pytest.mark.requirement("DEV-05")
def test_slats_and_positions_are_asked_under_the_names_that_home_assistant_gives_them() -> None:
    """Zigbee2MQTT commands a cover by `position`, and not by `value`."""
    found = points(
        "cover", cmd_t="c/set", pos_t="c", pos_tpl="{{ value_json.position }}", set_pos_t="c/set",
        set_pos_tpl='{ "position": {{ position }} }', tilt_cmd_t="c/set/tilt", tilt_status_t="c",
        tilt_status_tpl="{{ value_json.tilt }}", val_tpl="{{ value_json.state }}", stat_t="c",
    )  # fmt: skip
    state = '{"position":80,"tilt":25,"state":"OPEN"}'
    assert (said(found[LIFT], state), said(found[TILT], state)) == ((20.0, "good"), (75.0, "good"))
    assert json.loads(sent(found[LIFT], 0)) == {"position": 100}
    assert sent(found[TILT], 100) == b"0"
    assert sent(found[TILT], 30) == b"70"
    turned = points(
        "cover", pos_t="c", set_pos_t="c/set", pos_open=0, pos_clsd=255, set_pos_tpl="{{ position }}/{{ value }}",
        tilt_cmd_t="c/t", tilt_min=-90, tilt_max=90, tilt_cmd_tpl="{{ tilt_position }} of {{ tilt_min }}",
        tilt_status_t="c/t/s",
    )  # fmt: skip
    assert sent(turned[LIFT], 100) == b"0/255"
    assert sent(turned[LIFT], 0) == b"100/0"
    assert sent(turned[TILT], 0) == b"100 of -90"
    assert sent(turned[TILT], 50) == b"50 of -90"
    assert said(turned[TILT], "-90") == (100.0, "good")
    assert said(turned[TILT], "0") == (50.0, "good")
    assert said(turned[TILT], "91") == (None, "bad")


def test_slats_that_cannot_be_told_are_refused_and_the_cover_is_taken() -> None:
    for wrong in ({"tilt_min": 5, "tilt_max": 5}, {"tilt_inv_stat": True}, {"tilt_cmd_t": "c/#"}):
        options = {"cmd_t": "c", "tilt_cmd_t": "c/t", **wrong}
        assert points("cover", **options).keys() == {LIFT}
        assert "It tilt" in refused("cover", **options)
