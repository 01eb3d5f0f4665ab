"""check-config: prints every problem with its place, and changes nothing."""

from pathlib import Path

import pytest
from msgspec import structs

from edge.app.check_config import problems
from edge.app.main import main
from edge.policy.document import default, encode
from firmware_bridges.catalogue import PACKAGE
from protocols.device_model import site_plan
from protocols.device_model.identity import BusId
from tests.edge.world import plan

MINIMAL = 'property = "aurora"\nedge = "e-aurora0000000001"\ndata_dir = "data"\n'


def config(folder: Path, text: str = "") -> Path:
    path = folder / "edge.toml"
    path.write_text(MINIMAL + text)
    return path


def test_the_smallest_file_that_runs_has_nothing_wrong(tmp_path: Path) -> None:
    assert problems(config(tmp_path), {}) == []
    assert not (tmp_path / "data").exists()


def test_every_problem_is_told_at_once_and_each_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "site.json").write_bytes(site_plan.encode(plan()).replace(b'"aurora"', b'"borealis"'))
    (tmp_path / "policy.json").write_bytes(encode(default()).replace(b"21.5", b"99"))
    text = (
        'site_plan_path = "site.json"\npolicy_path = "policy.json"\n'
        '[uplink]\nhost = "broker"\nport = 8883\ncommand_public_key_path = "absent.pem"\nca_path = "absent-ca.pem"\n'
    )
    found = problems(config(tmp_path, text), {})
    for place in ("site.json: property.id", "policy.json: ", "uplink.command_public_key_path", "uplink.ca_path"):
        assert any(place in each for each in found), (place, found)


def test_a_plan_asks_for_the_settings_of_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "site.json").write_bytes(site_plan.encode(plan()))
    found = "\n".join(problems(config(tmp_path, 'site_plan_path = "site.json"\n'), {}))
    assert "site_broker: is missing" in found
    assert "doors: is missing" in found
    assert "'test/thing' is not described" in found


def test_models_of_the_propertys_own_are_read_beside_those_of_the_release(tmp_path: Path) -> None:
    (tmp_path / "site.json").write_bytes(site_plan.encode(plan()))
    own = tmp_path / "models" / "test" / "descriptors" / "thing.toml"
    text = (PACKAGE / "regin" / "descriptors" / "rcf_230.toml").read_text()
    named = 'site_plan_path = "site.json"\n[bridges]\nmodels_path = "models"\n'
    assert "is no folder; descriptors lie in" in "\n".join(problems(config(tmp_path, named), {}))
    own.parent.mkdir(parents=True)
    (tmp_path / "models" / "thing.toml").write_text(text)
    assert "thing.toml is not in its place" in "\n".join(problems(config(tmp_path, named), {}))
    own.write_text(text)
    assert "'regin/rcf_230' lies in the place of 'test/thing'" in "\n".join(problems(config(tmp_path, named), {}))
    own.write_text(text.replace('id = "regin/rcf_230"', 'id = "test/thing"'))
    found = "\n".join(problems(config(tmp_path, named), {}))
    assert "is not described" not in found
    (tmp_path / "keys.toml").write_text('"54-48" = ""')
    found = "\n".join(problems(config(tmp_path, named + 'advert_keys_path = "keys.toml"\n'), {}))
    assert "others may read these keys" in found
    (tmp_path / "keys.toml").chmod(0o600)
    found = "\n".join(problems(config(tmp_path, named + 'advert_keys_path = "keys.toml"\n'), {}))
    assert "is no address" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("surprise = 1\n", "surprise"),
        ("[api]\nport = 70000\n", "api.port"),
        ("[api]\nport = 'http'\n", "api.port"),
        ('[uplink]\nhost = "x"\n', "uplink"),
        ("[log.a]\npages_max = 'many'\n", "log.a.pages_max"),
        ("clock_trust = 'me'\n", "clock_trust"),
        ("property = 'twice'\n", "is not TOML"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_value(tmp_path: Path, text: str, said: str) -> None:
    [found] = problems(config(tmp_path, text), {})
    assert "edge.toml" in found
    assert said in found


def test_the_environment_is_judged_too(tmp_path: Path) -> None:
    [found] = problems(config(tmp_path), {"EDGE_API__PORT": "many"})
    assert "EDGE_API__PORT" in found


def test_the_exit_status_says_whether_it_would_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(config(tmp_path))]) == 0
    assert "nothing wrong" in capsys.readouterr().out
    assert main(["check-config", "--config", str(config(tmp_path, "surprise = 1\n"))]) == 2
    assert "surprise" in capsys.readouterr().err
    assert main(["run", "--config", str(config(tmp_path, "surprise = 1\n"))]) == 2
    assert main(["check-config", "--config", str(tmp_path / "absent.toml")]) == 2


def test_a_doors_file_is_known_by_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "doors.toml"
    path.write_text(
        'store_path = "doors.db"\nsocket_path = "doors.sock"\nsite_plan_path = "site.json"\n'
        'door_secrets_path = "secrets.json"\nproperty_ca_key_path = "ca.json"\n'
    )
    found = problems(path, {})
    assert any("site.json" in each for each in found)
    assert any("ca.json" in each for each in found)


@pytest.mark.requirement("PLT-11")
def test_every_fault_of_one_file_is_told_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        'clock_trust = "moon"\nsurprise = 1\n[api]\nport = 99999\n[uplink]\nhost = "a b"\nport = 1\n'
        '[[northbound]]\nname = "ok"\nhost = "h"\n[[northbound]]\nname = "A"\nlanes = ["B", "D"]\n'
    )
    path = config(tmp_path, text)
    places = (
        "clock_trust: must be one of 'ntp', 'host'; got 'moon'",
        "`surprise`",
        "api.port: Expected `int` <= 65535; got 99999",
        "uplink.host: 'a b' is no host name or address",
        "northbound[1].name: ",
        "northbound[1].lanes[1]: must be one of 'A', 'B', 'C'; got 'D'",
        "northbound[1]: Object missing required field `host`",
        "EDGE_LOG_LEVEL: must be one of 'debug', 'info', 'warning', 'error'; got 'loud'",
    )
    found = problems(path, {"EDGE_LOG_LEVEL": "loud"})
    assert len(found) == len(places)
    for place in places:
        assert any(place in each for each in found), (place, found)
    assert main(["run", "--config", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == len(places) - 1


@pytest.mark.guarantee("G19")
@pytest.mark.requirement("PLT-11")
@pytest.mark.parametrize("span", ["-PT3S", "PT0S", "P99999D"])
@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("[uplink]\nhost = 'h'\nport = 1\n[uplink.link]\n", "reconnect_most"),
        ("[uplink]\nhost = 'h'\nport = 1\n[uplink.link]\n", "reconnect_first"),
        ("[fias]\nhost = 'h'\nport = 1\nzone = 'Europe/Vienna'\n", "resync_after"),
        ("[site_broker]\nhost = 'h'\n[json_devices]\nrules = [{topic = '{device}/x'}]\n", "silent_after"),
    ],
)
def test_no_span_is_negative_nothing_or_for_ever(tmp_path: Path, table: str, key: str, span: str) -> None:
    [found] = problems(config(tmp_path, f'{table}{key} = "{span}"\n'), {})
    assert f"{key} must be " in found


REACH = "[uplink]\nhost = {host}\nport = 1883\n{more}\n"


@pytest.mark.guarantee("G19")
@pytest.mark.requirement("PLT-11")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[api]\nhost = "a..b"\n', "api.host: 'a..b' is no host name or address"),
        ('[api]\nhost = ""\n', "api.host: '' is no host name or address"),
        ('[api]\nport_path = "nowhere/port"\n', "api.port_path: "),
        ('[api]\ntoken_path = "."\n', "cannot be read as a token"),
        ('[api]\ntoken_path = "nowhere/token"\n', "api.token_path: "),
        (REACH.format(host=f'"{"x" * 64}.de"', more=""), "is no host name or address"),
        (REACH.format(host='"ok"', more='keepalive = "-PT5S"'), "uplink: keepalive must be 1 to 65535 s, not -1 day"),
        (REACH.format(host='"ok"', more='keepalive = "P100D"'), "uplink: keepalive must be 1 to 65535 s, not 100 days"),
        (REACH.format(host='"ok"', more='cert_path = "c.pem"'), "uplink: cert_path and key_path belong together"),
        (REACH.format(host='"ok"', more='cert_path = "c"\nkey_path = "k"'), "uplink: cert_path without ca_path"),
        ('[site_broker]\nhost = "a b"\n', "site_broker.host: 'a b' is no host name or address"),
        ('[site_broker]\nhost = "::1"\nkey_path = "k"\n', "site_broker: cert_path and key_path belong together"),
        (f'[doors]\nsocket_path = "{"x" * 120}"\n', "doors: socket_path is longer than 100 bytes"),
        ('[[northbound]]\nname = "n"\nhost = "%"\n', "northbound[0].host: '%' is no host name or address"),
        ('[[northbound]]\nname = "n\\n"\nhost = "h"\n', "northbound[0].name: "),
        ('[[northbound]]\nname = "n"\nhost = "h"\nreconnect_most = "PT0S"\n', "northbound[0]: reconnect_first must be"),
    ],
    ids=range(16),
)
def test_a_setting_that_could_only_fail_later_is_named_now(tmp_path: Path, text: str, problem: str) -> None:
    config = tmp_path / "edge.toml"
    config.write_text('property = "aurora"\nedge = "e-1"\ndata_dir = "data"\n' + text)
    found = problems(config, {})
    assert len(found) == 1, found
    assert problem in found[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0", "broker", "a-b.example.com", "_mqtt._tcp.x", "1"])
def test_a_host_that_can_be_called_is_taken(tmp_path: Path, host: str) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(
        'property = "aurora"\nedge = "e-1"\ndata_dir = "data"\n' + REACH.format(host=f'"{host}"', more="")
    )
    assert problems(config, {}) == []


def test_a_plan_asks_for_the_security_of_its_buses_and_nothing_beside(tmp_path: Path) -> None:
    secured = (
        site_plan.ModbusTlsBus(BusId("meters"), "10.0.0.7"),
        site_plan.OpcUaBus(BusId("plant"), "opc.tcp://10.0.0.8:4840"),
        site_plan.OpcUaBus(BusId("attic"), "opc.tcp://10.0.0.9:4840"),
    )
    made = structs.replace(plan(), devices=(), doors=(), buses=secured)
    (tmp_path / "site.json").write_bytes(site_plan.encode(made))
    text = (
        'site_plan_path = "site.json"\n[[bridges.opcua]]\nbus = "plant"\npolicy = "none"\n'
        '[[bridges.opcua]]\nbus = "cellar"\npolicy = "none"\n'
    )
    found = "\n".join(problems(config(tmp_path, text), {}))
    assert "'cellar' is no such bus of the site plan; buses of that kind: attic, plant" in found
    assert "bus 'attic': has no [[bridges.opcua]] that says its security" in found
    assert "bus 'meters': has no [[bridges.modbus_tls]]" in found
    assert "'plant': has" not in found
    tls = '[[bridges.modbus_tls]]\nbus = "meters"\nca_path = "ca.pem"\ncert_path = "c.pem"\nkey_path = "c.key"\n'
    found = "\n".join(problems(config(tmp_path, text + tls), {}))
    assert f"{tmp_path}/ca.pem: no authority to trust" in found


def test_a_bus_may_not_have_the_name_under_which_found_devices_are_told(tmp_path: Path) -> None:
    made = structs.replace(plan(), devices=(), doors=(), buses=(site_plan.MqttDevicesBus(BusId("mdns")),))
    (tmp_path / "site.json").write_bytes(site_plan.encode(made))
    text = 'site_plan_path = "site.json"\n[site_broker]\nhost = "127.0.0.1"\n[mdns]\ninterface = "10.0.0.2"\n'
    [found] = problems(config(tmp_path, text), {})
    assert "mdns: the site plan has a bus 'mdns'" in found
