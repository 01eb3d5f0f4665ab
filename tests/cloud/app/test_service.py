"""The service as a whole: starts, says that it is ready, stops cleanly; the command says what is wrong."""

import asyncio
import hashlib
import io
from pathlib import Path

import httpx
import msgspec
import pytest

from cloud.app.main import main
from cloud.app.service import run
from cloud.app.settings import CloudSettings
from cloud.kit.database import Database
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.settings import load
from tests.cloud.houses import AURORA, open_house, plan_of

TOKEN = "a-token-of-forty-characters-0123456789ab"


def written(folder: Path, dsn: str, *more: str) -> Path:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    path = folder / "cloud.toml"
    path.write_text(
        "\n".join(
            (
                "[database]", f'dsn = "{dsn}"', "[http]", "port = 0",
                "[[access_tokens]]", 'name = "ops"', 'tenant = "northlight"', 'role = "admin"', f'sha256 = "{digest}"',
                *more,
            )
        )
    )  # fmt: skip
    return path


@pytest.mark.tier("postgres")
async def test_it_starts_serves_and_stops(database: Database, dsn: str, tmp_path: Path) -> None:
    await open_house(database)
    settings = load(CloudSettings, written(tmp_path, dsn), "INNKEEPER_CLOUD", {})
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(
        run(settings, clock=SystemClock("host"), dice=SystemDice(), bound=bound.set_result, stop=stop)
    )
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=f"http://127.0.0.1:{await bound}") as http:
        while (await http.get("/ready")).status_code != 200:
            await asyncio.sleep(0.02)
        answer = await http.get("/api/v1/properties", headers={"Authorization": f"Bearer {TOKEN}"})
        assert [each["id"] for each in answer.json()["properties"]] == ["aurora"]
        assert b"innkeeper_outbox_waiting" in (await http.get("/metrics")).content
    stop.set()
    async with asyncio.timeout(30):
        await serving


@pytest.mark.tier("postgres")
def test_the_command_migrates_loads_and_verifies(dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, plan = written(tmp_path, dsn), tmp_path / "plan.json"
    plan.write_bytes(msgspec.json.encode(plan_of(AURORA)))
    assert main(["migrate", "--config", str(config)]) == 0
    assert "stays_0009" in capsys.readouterr().out
    for _ in range(2):
        assert main(["load-property", "--config", str(config), str(plan)]) == 0
    assert "aurora: 3 rooms, 3 doors" in capsys.readouterr().out
    assert main(["verify", "--config", str(config), "--property", "aurora"]) == 0
    assert main(["verify", "--config", str(config), "--property", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


PMS = """[[pms]]
property = "aurora"
system = "mews"
platform = "https://pms.example"
access_token_path = "a"
webhook_secret_path = "b"
"""


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("[database]\ndsn = 5", "database.dsn"),
        ('[database]\ndsn = "zz=do-not-show"', "database.dsn: is no connection string of libpq"),
        (
            '[database]\ndsn = "host=h password=do-not-show but=spaces"',
            "database.dsn: is no connection string of libpq",
        ),
        ('[database]\ndsn = "postgresql://u:do-not-show@h:x/db"', "database.dsn: its port is not 1 to 65535"),
        (
            "[[access_tokens]]\nname='n'\ntenant='t'\nsha256='" + "0" * 64 + "'\nrole='king'",
            "access_tokens[0].role: must be one of 'viewer', 'staff', 'admin'; got 'king'",
        ),
        ('[http]\nport = "x"', "http.port"),
        ("[surprise]", "surprise"),
        ('[link]\nsilent_after = "soon"', "link.silent_after"),
        ('[link]\nsilent_after = "-PT3S"', "link: silent_after must be"),
        ('[link]\noffline_after = "PT1S"', "link: offline_after must be"),
        ('[ingest]\nlease = "PT0S"', "ingest: lease must be"),
        ('[ingest.work]\nslow = "P99999D"', "ingest.work: slow must be"),
        ('[telemetry]\nkeep_days = "-P1D"', "telemetry: keep_days must be"),
        (PMS + 'zone = "Europe/Nowhere"', "pms[0].zone: 'Europe/Nowhere' is no zone"),
        (PMS + 'poll = "PT0S"', "pms[0]: poll must be"),
    ],
)
@pytest.mark.requirement("PLT-11")
def test_a_wrong_setting_is_named_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, named: str
) -> None:
    config = tmp_path / "cloud.toml"
    config.write_text(line if line.startswith("[database]") else f'[database]\ndsn = "host=/nowhere"\n{line}')
    assert main(["run", "--config", str(config)]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert "cloud.toml" in said
    assert "do-not-show" not in said


def test_a_plan_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, "host=/nowhere")
    assert main(["load-property", "--config", str(config), str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_a_secret_never_shows_in_an_error(tmp_path: Path) -> None:
    from cloud.app.secrets import read_secret
    from protocols.errors import InvalidInputError

    path = tmp_path / "secret"
    path.write_bytes(b"do-not-show\x00\xff")
    with pytest.raises(InvalidInputError) as error:
        read_secret(path)
    assert "do-not-show" not in str(error.value)
    path.write_text("  a-secret\n")
    assert read_secret(path) == "a-secret"


@pytest.mark.tier("postgres")
async def test_the_first_admin_is_made_by_the_command_and_signs_in(
    database: Database, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await open_house(database)
    config = written(tmp_path, dsn)
    words = ["create-user", "--config", str(config), "--email", "Anna@Northlight.example", "--name", "Anna", "--tenant"]
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert await asyncio.to_thread(main, [*words, "northlight"]) == 0
    assert "anna@northlight.example: admin of northlight" in capsys.readouterr().out
    for again, named in (("northlight", "account already"), ("nowhere", "nowhere")):
        monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
        more = [*words[:-2], "Other", "--tenant"] if again == "nowhere" else words
        more = [each.replace("Anna@", "other@") if again == "nowhere" else each for each in more]
        assert await asyncio.to_thread(main, [*more, again]) == 2
        assert named in capsys.readouterr().err
    settings = load(CloudSettings, config, "INNKEEPER_CLOUD", {})
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(
        run(settings, clock=SystemClock("host"), dice=SystemDice(), bound=bound.set_result, stop=stop)
    )
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=f"http://127.0.0.1:{await bound}") as http:
        body = {"email": "anna@northlight.example", "password": "correct horse battery"}
        tokens = (await http.post("/api/v1/sign-in", json=body)).json()["tokens"]
        answer = await http.get("/api/v1/properties", headers={"Authorization": f"Bearer {tokens['access_token']}"})
        assert [each["id"] for each in answer.json()["properties"]] == ["aurora"]
    stop.set()
    async with asyncio.timeout(30):
        await serving
    judge = ["verify-audit", "--config", str(config), "--tenant", "northlight"]
    assert await asyncio.to_thread(main, judge) == 0
    head = capsys.readouterr().out.split()[4].rstrip(":")
    assert head.startswith("1:")
    assert await asyncio.to_thread(main, [*judge, "--kept", head]) == 0
    assert await asyncio.to_thread(main, [*judge, "--kept", "1:" + "0" * 64]) == 1
    assert await asyncio.to_thread(main, [*judge, "--kept", "nonsense"]) == 2
    assert "--kept" in capsys.readouterr().err
