"""Templates: what devices announce is read, what is outside the subset is refused, and nothing is ever executed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import InvalidInputError
from protocols.home_assistant.templates import NO_DOCUMENT, SOURCE_CHARACTERS_MAX, Silence, compiled

SAID: dict[str, Any] = {
    "temperature": 21.56,
    "state": "on",
    "count": 7,
    "text": "12.5",
    "open": True,
    "none": None,
    "ENERGY": {"Power": [12, 0], "Total": "3.25"},
    "a.b": 1,
    "mode": "heat",
}


@pytest.mark.requirement("DEV-01")
@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("{{ value_json.temperature }}", "21.56"),
        ("{{value_json['ENERGY']['Total']}}", "3.25"),
        ('{{ value_json["ENERGY"].Power[1] }}', "0"),
        ("{{ value_json.ENERGY.Power.0 }}", "12"),
        ("{{ value_json.get('state') }}", "on"),
        ("{{ value_json.get('nothing', 'else') }}", "else"),
        ("{{ value_json['a.b'] }}", "1"),
        ("{{ value }}", "said"),
        ("{{ value | upper }}", "SAID"),
        ("{{ value_json.temperature | round(1) }}", "21.6"),
        ("{{ value_json.text | float * 10 }}", "125.0"),
        ("{{ (value_json.count | int) / 2 - 1 }}", "2.5"),
        ("{{ -value_json.count }}", "-7"),
        ("{{ value_json.text|int }}", "12"),
        ("{{ value_json.open }}", "True"),
        ("{{ value_json.none }}", "None"),
        ("{{ 'ON' if value_json.state == 'on' else 'OFF' }}", "ON"),
        ("{{ 'ON' if value_json.count in [1, 2] else 'OFF' }}", "OFF"),
        ("{{ 'a' if not value_json.open and value_json.count > 3 else 'b' }}", "b"),
        ("{% if value_json.state == 'on' %}ON{% else %}OFF{% endif %}", "ON"),
        ("{% if value_json.count < 3 %}low{% elif value_json.count < 9 %}mid{% else %}high{% endif %}", "mid"),
        ("{% if value_json.x is defined %}{{ value_json.x }}{% else %}none{% endif %}", "none"),
        ("{% if value_json.state is not none %}is{% endif %}", "is"),
        ("{% set values = {None: None, 'heat': 'heating'} %}{{ values[value_json.mode] }}", "heating"),
        ("{%- if value_json.open -%}  yes  {%- endif -%} ", "yes"),
        ("{# what it says #}{{ value_json.state }}", "on"),
        ("{{ value_json.nothing | default('0') }}", "0"),
        ("{{ value_json.ENERGY.Power | tojson }}", "[12,0]"),
        ("{{ value_json.text.split('.')[1] }}", "5"),
        ("{{ 'a,b,c,d'.split(',')[0:3] | join('-') }}", "a-b-c"),
        ("{{ 'a,b,c'.split(',')[1:] | join }}", "bc"),
        ("{{ value_json.mode[:2] }}", "he"),
        ("{{ value_json.ENERGY.Power[-1:] | tojson }}", "[0]"),
        ('{"setpoint": {{ value }} }', '{"setpoint": said }'),
        ("{{ '}}' }}", "}}"),
        ("plain", "plain"),
    ],
)
def test_what_devices_announce_is_read(source: str, made: str) -> None:
    assert compiled(source).render("said", SAID) == made


@pytest.mark.parametrize(
    ("source", "silence"),
    [
        ("{{ value_json.nothing }}", Silence.NOTHING),
        ("{{ value_json.nothing.more }}", Silence.NOTHING),
        ("{{ value_json.temperature.more }}", Silence.NOTHING),
        ("{{ value_json.ENERGY.Power[9] }}", Silence.NOTHING),
        ("{{ 'ON' if value_json.nothing == 'on' else 'OFF' }}", Silence.NOTHING),
        ("{% if value_json.nothing %}ON{% else %}OFF{% endif %}", Silence.NOTHING),
        ("{{ not value_json.nothing }}", Silence.NOTHING),
        ("{{ value_json.nothing | is_defined }}", Silence.NOTHING),
        ("{{ value_json.nothing | float(0) }}", Silence.NOTHING),
        ("{{ value_json.state | float(0) }}", Silence.NO_NUMBER),
        ("{{ value_json.state | int(default=0) }}", Silence.NO_NUMBER),
        ("{{ value_json.count / 0 }}", Silence.NO_NUMBER),
        ("{{ value_json.state * 3 }}", Silence.NO_NUMBER),
        ("{{ value_json.state < 3 }}", Silence.NO_NUMBER),
        ("{{ value_json.ENERGY }}", Silence.NO_NUMBER),
        ("{{ 99999999999 * 99999999999 }}", Silence.NO_NUMBER),
    ],
)
def test_nothing_is_invented_from_what_is_not_there_or_is_no_number(source: str, silence: Silence) -> None:
    assert compiled(source).render("said", SAID) is silence


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "source",
    [
        "{{ states('light.kitchen') }}",
        "{{ value.__class__.__mro__ }}",
        "{{ value_json.__init__ }}",
        "{{ ''.join(['a', 'b']) }}",
        "{{ value_json.items() }}",
        "{{ now() }}",
        "{{ range(9) }}",
        "{{ config }}",
        "{{ self }}",
        "{{ value | regex_replace('a', 'b') }}",
        "{{ value | round(1, 'floor') }}",
        "{{ value | attr('x') }}",
        "{% for each in value_json %}{{ each }}{% endfor %}",
        "{% macro m() %}{% endmacro %}",
        "{% import 'os' as os %}",
        "{% include 'x' %}",
        "{% set value = 1 %}",
        "{% if value %}",
        "{% if %}{% endif %}",
        "{{ value",
        "{{ }}",
        "{{ value value }}",
        "{{ 2 ** 99 }}",
        "{{ value % 2 }}",
        "{{ {'a': } }}",
        "{# never ends",
        "{{ '" + "x" * SOURCE_CHARACTERS_MAX + "' }}",
        "{{ " + "(" * 60 + "1" + ")" * 60 + " }}",
        "{% if 1 %}" * 60 + "{% endif %}" * 60,
    ],
)
def test_what_is_outside_the_subset_is_refused_with_what_it_is(source: str) -> None:
    with pytest.raises(InvalidInputError, match=r"outside what is read|characters|nested"):
        compiled(source)


def test_a_long_chain_of_steps_is_no_number_and_no_crash() -> None:
    deep = "value_json" + ".a" * 600
    assert compiled(f"{{{{ {deep} }}}}").render("", {"a": 1}) in (Silence.NOTHING, Silence.NO_NUMBER)


PIECES = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{#", "#}", "-", "value", "value_json", ".", "[", "]", "(", ")", "'", '"', "|", "float",
     "int", "round", "if", "else", "endif", "set", "x", "=", "==", "1", "0.5", "/", "*", "~", ",", ":", "{", "}", " "]
)  # fmt: skip


@pytest.mark.guarantee("G19")
@settings(max_examples=300, deadline=None)
@given(
    source=st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=80)),
    value=st.text(max_size=20),
    document=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "x", "value"]), inner),
        max_leaves=6,
    ),
)
def test_any_source_is_refused_or_makes_text_of_any_message(source: str, value: str, document: object) -> None:
    try:
        template = compiled(source)
    except InvalidInputError:
        return
    for said in (document, NO_DOCUMENT):
        assert isinstance(template.render(value, said), str | Silence)
