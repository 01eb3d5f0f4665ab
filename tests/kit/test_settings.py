"""Settings: a file, then the environment, and every mistake named with its place, key and value."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.settings import load
from protocols.errors import InvalidInputError


class Uplink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As a part of the edge's settings would be."""

    broker_host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8883
    client_key_path: Path | None = None
    keepalive: timedelta = timedelta(seconds=30)
    version: Literal["3.1.1", "5"] = "3.1.1"
    tls: bool = True
    api_token: Annotated[str, msgspec.Meta(min_length=8)] = "12345678"


class Edge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nested, with lists."""

    uplink: Uplink
    buses: list[str] = []
    ca_paths: list[Path] = []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "edge.toml"
    path.write_text('[uplink]\nbroker_host = "cloud"\nkeepalive = "PT45S"\nclient_key_path = "pki/edge.key"\n')
    return path


@pytest.mark.requirement("PLT-11")
def test_the_file_fills_the_tree_and_its_paths_start_at_its_folder(file: Path) -> None:
    settings = load(Edge, file, "EDGE", {})
    assert settings.uplink.broker_host == "cloud"
    assert settings.uplink.keepalive == timedelta(seconds=45)
    assert settings.uplink.client_key_path == file.parent / "pki/edge.key"
    assert settings.uplink.port == 8883


@pytest.mark.requirement("PLT-11")
def test_the_environment_wins_and_is_read_as_the_fields_type(file: Path) -> None:
    settings = load(
        Edge,
        file,
        "EDGE_",
        {
            "EDGE_UPLINK__PORT": "1883",
            "EDGE_UPLINK__TLS": "false",
            "EDGE_UPLINK__KEEPALIVE": "PT1M",
            "EDGE_UPLINK__CLIENT_KEY_PATH": "/etc/innkeeper/edge.key",
            "EDGE_BUSES": '["modbus-1"]',
            "EDGEWISE": "is somebody else's",
        },
    )
    assert (settings.uplink.port, settings.uplink.tls) == (1883, False)
    assert settings.uplink.keepalive == timedelta(minutes=1)
    assert settings.uplink.client_key_path == Path("/etc/innkeeper/edge.key")
    assert settings.buses == ["modbus-1"]


def test_the_environment_alone_is_enough() -> None:
    settings = load(Edge, None, "EDGE", {"EDGE_UPLINK__BROKER_HOST": "cloud"})
    assert settings == Edge(uplink=Uplink(broker_host="cloud"))


def test_lists_of_paths_start_at_the_folder_too(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('ca_paths = ["a.pem", "/b.pem"]\n[uplink]\nbroker_host = "x"\n')
    assert load(Edge, path, "EDGE", {}).ca_paths == [tmp_path / "a.pem", Path("/b.pem")]


@pytest.mark.requirement("PLT-11")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[uplink]\n", "uplink: Object missing required field `broker_host`"),
        ("[uplink]\nbroker_host = 5\n", "uplink.broker_host: Expected `str`, got `int`; got 5"),
        ('[uplink]\nbroker_host = "x"\nkeepalive = 45\n', "uplink.keepalive: Expected `duration`, got `int`; got 45"),
        ('[uplink]\nbroker_host = "x"\nport = 0\n', "uplink.port: Expected `int` >= 1; got 0"),
        ('[uplink]\nbroker_host = "x"\nport = "1"\n', "uplink.port: Expected `int`, got `str`; got '1'"),
        ('[uplink]\nbroker_host = "x"\nversion = "4"\n', "uplink.version: must be one of '3.1.1', '5'; got '4'"),
        ('[uplink]\nbroker_hots = "x"\n', "uplink: Object contains unknown field `broker_hots`"),
        ('[uplink]\nbroker_host = "x"\nclient_key_path = ""\n', "uplink.client_key_path: "),
        ("uplink = 3\n", "uplink: Expected `object`, got `int`; got 3"),
        ('buses = [1]\n[uplink]\nbroker_host = "x"\n', "buses[0]: Expected `str`, got `int`"),
        ('buses = ["a", 1]\n[uplink]\nbroker_host = "x"\n', "buses[1]: Expected `str`, got `int`; got 1"),
        ('[uplink]\nbroker_host = "x"\nclient_key_path = "a\\u0000b"\n', "holds a NUL"),
        ('[uplink]\nbroker_host = "x"\nport = 0x' + "f" * 5_000, "an integer of 20000 bits"),
        ("buses = " + "[" * 50_000, "is nested too deeply"),
        ("[uplink\n", "is not TOML: "),
        ("", "Object missing required field `uplink`"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        load(Edge, path, "EDGE", {})
    assert str(caught.value).startswith(str(path))
    assert problem in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


@pytest.mark.requirement("PLT-11")
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("EDGE_UPLINK__PORT", "many", "Expected `int`, got `str`; got 'many'"),
        ("EDGE_UPLINK__PORT", "70000", "uplink.port: Expected `int` <= 65535; got 70000"),
        ("EDGE_UPLINK__KEEPALIVE", "45", "Invalid ISO8601 duration; got '45'"),
        ("EDGE_UPLINK__BROKER_HOTS", "x", "names no setting: there is no key 'uplink.broker_hots'"),
        ("EDGE_UPLINK__PORT__X", "1", "names no setting: there is no key 'uplink.port.x'"),
        ("EDGE_BUSES", "modbus-1", "JSON is malformed"),
        ("EDGE_BUSES", "[1]", "Expected `str`, got `int`; got 1"),
        ("EDGE_BUSES", "[" * 50_000, "recursion depth"),
        ("EDGE_BUSES", '{"a": 1}', "Expected `array`, got `object`"),
        ("EDGE_UPLINK", "3", "uplink: Expected `object`, got `int`; got 3"),
        ("EDGE_UPLINK__PORT", "9" * 5_000, "Integer value out of range; got '999"),
        ("EDGE_UPLINK__KEEPALIVE", "P99999999999D", "Duration is out of range"),
    ],
)
def test_a_mistake_in_a_variable_is_named(file: Path, name: str, value: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load(Edge, file, "EDGE", {name: value})
    assert caught.value.place == name
    assert problem in caught.value.problem


@pytest.mark.requirement("SEC-01")
def test_a_secret_value_is_never_repeated(file: Path) -> None:
    with pytest.raises(InvalidInputError) as from_variable:
        load(Edge, file, "EDGE", {"EDGE_UPLINK__API_TOKEN": "hush"})
    file.write_text('[uplink]\nbroker_host = "x"\napi_token = "hush"\n')
    with pytest.raises(InvalidInputError) as from_file:
        load(Edge, file, "EDGE", {})
    for caught in (from_variable, from_file):
        assert "api_token" in f"{caught.value}".lower()
        assert "hush" not in str(caught.value)


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a list whose name sounds secret."""

    role: Literal["viewer", "admin"] = "viewer"
    secret: Annotated[str, msgspec.Meta(min_length=9)] = "123456789"
    tokens: tuple[Annotated[str, msgspec.Meta(min_length=9)], ...] = ()


class Cloud(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holds secrets by its parents' names."""

    access_tokens: tuple[Token, ...] = ()
    passwords: dict[str, Literal["a", "b"]] = {}
    plain: Annotated[tuple[int, ...], msgspec.Meta(max_length=0)] | Token = ()


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[access_tokens]]\nrole = 'king'\n", "access_tokens[0].role: must be one of 'viewer', 'admin'; got 'king'"),
        ("[[access_tokens]]\nsecret = 'hush'\n", "access_tokens[0].secret: is not of the right form; got [redacted]"),
        ("[[access_tokens]]\ntokens = ['hush']\n", "tokens[0]: is not of the right form; got [redacted]"),
        ("access_tokens = ['hush']\n", "access_tokens[0]: is not of the right form; got [redacted]"),
        ("access_tokens = 'hush'\n", "access_tokens: is not of the right form; got [redacted]"),
        ("[passwords]\nme = 'hush'\n", "passwords"),
        ("plain = [{ secret = 'hush' }]\n", "plain"),
    ],
)
def test_the_last_key_says_what_is_secret(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        load(Cloud, path, "CLOUD", {})
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read: Is a directory"):
        load(Edge, tmp_path, "EDGE", {})


def test_a_file_that_is_no_utf_8_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe[\x00u\x00")
    with pytest.raises(InvalidInputError, match=r"is not TOML: 'utf-8' codec"):
        load(Edge, file, "EDGE", {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nowhere\.toml: cannot be read: No such file"):
        load(Edge, tmp_path / "nowhere.toml", "EDGE", {})


@pytest.mark.guarantee("G19")
@given(text=st.text(max_size=200), variable=st.text(st.characters(codec="ascii"), max_size=40))
def test_noise_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory, text: str, variable: str) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    path.write_text(text, encoding="utf-8")
    for environ in ({}, {f"EDGE_{variable}": text}):
        with suppress(InvalidInputError):
            load(Edge, path, "EDGE", environ)
