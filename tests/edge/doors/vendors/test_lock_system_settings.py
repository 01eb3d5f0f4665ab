"""[[lock_systems]]: what is wrong is named before anything is loaded, and no secret is read by others or shown."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge.app.check_config import problems
from edge.doors.settings import DoorsSettings
from edge.doors.vendors.choice import adapter, foreign_systems, read_secret
from kit.clock import ManualClock
from kit.settings import load
from protocols.errors import InvalidInputError, LinkLostError
from tests.house.sources import ROOT

BASE = (
    'store_path = "doors.db"\nsocket_path = "doors.sock"\nsite_plan_path = "site.json"\n'
    'door_secrets_path = "s.json"\nproperty_ca_key_path = "ca.json"\n'
)
UNIFI = (
    '[[lock_systems]]\nname = "annex"\nkind = "unifi_access"\nurl = "https://10.0.0.2:12445"\n'
    'token_path = "unifi.token"\ndoors = { a1 = ["door"] }\n'
)


def loaded(folder: Path, text: str) -> DoorsSettings:
    path = folder / "doors.toml"
    path.write_text(BASE + text)
    return load(DoorsSettings, path, "DOORS", {})


URL = 'url = "https://x.invalid"\n'
YALE = '{"d": {"address": "C4:AF:00:00:00:01", "key": "000102030405060708090a0b0c0d0e0f", "key_slot": 1}}'
YALE_TABLE = (
    '[[lock_systems]]\nname = "yale"\nkind = "august_ble"\n'
    'locks_path = "yale.json"\nslots = [40, 59]\ndoors = { a1 = ["d"] }\n'
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("slots = [40, 59]", "slots = [59, 40]"), "slots is"),
        (("slots = [40, 59]", "slots = [0, 3]"), "slots is"),
        (("slots = [40, 59]", "slots = [1, 65]"), "at most 64"),
        (("slots = [40, 59]", "slots = [65530, 65536]"), "of 1..65535"),
        (("slots = [40, 59]\n", ""), "needs slots"),
        (('locks_path = "yale.json"\n', ""), "needs locks_path"),
        (("slots =", 'url = "https://x.invalid"\nslots ='), "no meaning"),
        (("slots =", 'ca_path = "ca.pem"\nslots ='), "no meaning"),
    ],
)
def test_what_cannot_be_meant_of_locks_in_reach_is_refused(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert change[0] in YALE_TABLE
    with pytest.raises(InvalidInputError, match=says):
        loaded(tmp_path, YALE_TABLE.replace(*change))


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("[]", "is not"),
        (YALE.replace("0f", "0"), "is not"),
        (YALE.replace("C4:AF", "C4AF"), "is not"),
        (YALE.replace('"key_slot": 1', '"key_slot": 256'), "is not"),
        (YALE.replace('"d"', '"e"'), "no lock 'd'"),
        (f'{YALE[:-1]}, "e": {YALE[6:]}', "two locks have the address"),
    ],
)
@pytest.mark.guarantee("G7")
def test_a_file_of_locks_that_is_none_is_refused_and_no_key_is_told(tmp_path: Path, told: str, says: str) -> None:
    settings = loaded(tmp_path, YALE_TABLE)
    secret(tmp_path / "yale.json", told)
    with pytest.raises(InvalidInputError, match=says) as refused:
        foreign_systems(settings.lock_systems, ManualClock())
    assert "0001020304" not in f"{refused.value!r}{refused.value.__cause__!r}"


async def test_without_bluetooth_and_book_settings_are_checked_and_nothing_is_reached(tmp_path: Path) -> None:
    settings = loaded(tmp_path, YALE_TABLE)
    secret(tmp_path / "yale.json", YALE)
    [system] = foreign_systems(settings.lock_systems, ManualClock())
    assert (await system.system.health())["d"].online is False
    with pytest.raises(LinkLostError, match="no Bluetooth"):
        await system.system.revoke("ik-0001")
    await system.system.close()


def secret(path: Path, text: str = "t0ken-of-unifi\n", mode: int = 0o600) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


def test_a_secret_s_path_is_relative_to_the_file_and_the_adapter_is_made(tmp_path: Path) -> None:
    settings = loaded(tmp_path, UNIFI)
    secret(tmp_path / "unifi.token")
    [system] = foreign_systems(settings.lock_systems, ManualClock())
    assert (system.name, system.system.kind, system.medium) == ("annex", "unifi_access", "pin")
    assert system.doors == {"a1": ("door",)}


def test_every_kind_can_be_made_from_settings(tmp_path: Path) -> None:
    secret(tmp_path / "yale.json", YALE)
    secrets = ("unifi.token", "pw", "cs", "rt", "otp", "key")
    for name in secrets:
        secret(tmp_path / name, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    kinds = {
        "visionline": 'username = "u"\npassword_path = "pw"\nzone = "Europe/Vienna"\nmedium = "mobile"\n',
        "salto_ks": (
            'identity_url = "https://id.invalid"\nsite = "s"\nclient_id = "c"\nclient_secret_path = "cs"\n'
            'refresh_token_path = "rt"\notp_seed_path = "otp"\n'
        ),
        "salto_space": 'token_path = "unifi.token"\n',
        "august": 'site = "house"\napi_key_path = "key"\ntoken_path = "unifi.token"\n',
        "august_ble": 'locks_path = "yale.json"\nslots = [40, 59]\n',
    }
    tables = [
        f'[[lock_systems]]\nname = "{kind.replace("_", "-")}"\nkind = "{kind}"\n'
        f"{'' if kind == 'august_ble' else URL}"
        f'doors = {{ a1 = ["d"] }}\n{rest}'
        for kind, rest in kinds.items()
    ]
    settings = loaded(tmp_path, UNIFI + "".join(tables))
    made = foreign_systems(settings.lock_systems, ManualClock())
    assert [each.system.kind for each in made] == ["unifi_access", *kinds]
    assert [each.medium for each in made] == ["pin", "mobile", "pin", "mobile", "pin", "pin"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('token_path = "unifi.token"\n', ""), "needs token_path"),
        (('kind = "unifi_access"', 'kind = "onity"'), "onity"),
        (("https://", "http://"), "is not https://"),
        (('doors = { a1 = ["door"] }', "doors = {}"), "at least one door"),
        (('doors = { a1 = ["door"] }', "doors = { a1 = [] }"), "at least one door"),
        (("doors =", 'zone = "Europe/Vienna"\ndoors ='), "zone has no meaning"),
        (("doors =", 'medium = "card"\ndoors ='), "medium is one of pin"),
        (("doors =", 'deadline = "PT21S"\ndoors ='), "deadline must be 1 to 20 s"),
        (("doors =", 'deadline = "PT2S"\ndoors ='), "answer_wait must be"),
        (("doors =", 'poll = "PT0.1S"\ndoors ='), "poll must be"),
        (("doors =", 'ca_path = "ca.pem"\ncertificate_sha256 = "00"\ndoors ='), "exclude each other"),
        (("doors =", 'tokn = "x"\ndoors ='), "tokn"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        loaded(tmp_path, UNIFI.replace(*change))


def test_a_zone_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    keys = 'kind = "visionline"\nusername = "u"\npassword_path = "p"\nzone = "Europe/Nowhere"'
    text = UNIFI.replace('kind = "unifi_access"', keys).replace('token_path = "unifi.token"\n', "")
    with pytest.raises(InvalidInputError, match="zone: 'Europe/Nowhere' is no zone"):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.2",
        "http://127.0.0.1.example.invalid",
        "http://localhost@example.invalid",
        "https://user:word@example.invalid",
        "https://",
        "https://x:99999",
        "ftp://127.0.0.1",
        "https://x.invalid?token=1",
    ],
)
def test_an_address_that_somebody_could_listen_at_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInputError, match="is not https") as refused:
        loaded(tmp_path, UNIFI.replace("https://10.0.0.2:12445", url))
    assert "word" not in str(refused.value)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="given twice"):
        loaded(tmp_path, UNIFI + UNIFI)


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("t0ken", 0o644, "others may read"),
        ("", 0o600, "is not one line"),
        ("two\nlines", 0o600, "is not one line"),
        ("x" * 5_000, 0o600, "is not one line"),
        ("t\u00f6ken", 0o600, "is not one line"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_shown(tmp_path: Path, text: str, mode: int, says: str) -> None:
    secret(tmp_path / "unifi.token", text, mode)
    with pytest.raises(InvalidInputError, match=says) as refused:
        read_secret(tmp_path / "unifi.token")
    assert not text or text not in str(refused.value)


def test_check_config_says_what_is_wrong_with_a_lock_system(tmp_path: Path) -> None:
    loaded(tmp_path, UNIFI.replace("doors =", 'certificate_sha256 = "beef"\ndoors ='))
    found = problems(tmp_path / "doors.toml", {})
    assert any("certificate_sha256" in each for each in found)
    loaded(tmp_path, UNIFI)
    assert any("unifi.token" in each and "cannot be read" in each for each in problems(tmp_path / "doors.toml", {}))


def test_a_renewed_token_is_kept_whole_and_secret(tmp_path: Path) -> None:
    for name in ("cs", "rt"):
        secret(tmp_path / name, "first")
    settings = loaded(
        tmp_path,
        '[[lock_systems]]\nname = "ks"\nkind = "salto_ks"\nurl = "https://x.invalid"\ndoors = { a1 = ["d"] }\n'
        'identity_url = "https://id.invalid"\nsite = "s"\nclient_id = "c"\nclient_secret_path = "cs"\n'
        'refresh_token_path = "rt"\n',
    )
    system = adapter(settings.lock_systems[0], ManualClock())
    system._keep("second")  # type: ignore[attr-defined]  # an inner part, looked at on purpose
    assert read_secret(tmp_path / "rt") == "second"
    assert (tmp_path / "rt").stat().st_mode & 0o077 == 0


@pytest.mark.guarantee("G9")
def test_a_house_without_foreign_locks_carries_no_vendor_s_library() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import edge.app.doors, edge.doors.main, sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert {"aiohttp", "aiounifiaccess", "pydantic", "yarl"} & {
        each.partition(".")[0] for each in told.stdout.split()
    } == set()
