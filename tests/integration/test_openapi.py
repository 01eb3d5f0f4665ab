"""The service as it runs, asked whatever its own description lets and forbids, over a socket and a real PostgreSQL.

No request makes it fail, every answer is one that the description holds, what the description forbids is refused,
and every example in it is right.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, CheckContext, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from cloud.app.service import run
from cloud.app.settings import CloudSettings
from cloud.kit.acting import system
from cloud.kit.database import Database
from cloud.migrations.upgrade import upgrade
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.settings import load
from tests.cloud.houses import AURORA, BOREALIS, open_house
from tests.seeds import seeds
from tests.services.postgres import fresh_database, running_postgres

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PLT-08"), pytest.mark.timeout(900)]
TOKENS: Final = {role: f"{role}-token-0123456789-0123456789-0123456789" for role in ("admin", "staff", "viewer")}
EXAMPLES: Final = len(seeds(4, 8))
"""Of each operation, of each kind."""
UP_S: Final = 60.0
KEPT_OUT: Final = frozenset({"/api/v1/webhooks", "/api/v1/companies"})
"""What would ask addresses out there: no test does."""
CHECKS: Final = (
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


AWAY: Final = "urn:innkeeper:problem:edge-away"
"""No building is there in this suite, and what wants one says so."""


def is_defect(status: int, text: str) -> bool:
    return status >= 500 and not (status == 503 and AWAY in text)


def no_defect(_ctx: object, response: Any, _case: object) -> None:
    """The service answered, or said that the building is away."""
    assert not is_defect(response.status_code, response.text), response.text[:500]


def is_refused(ctx: CheckContext, response: Any, case: Any) -> bool | None:
    """What is not described is refused; an address too long for the server it refuses itself."""
    return None if response.status_code == 414 else negative_data_rejection(ctx, response, case)


@contextmanager
def _running(folder: Path, dsn: str) -> Iterator[str]:
    """Run the service in a loop of its own; give its address."""
    tokens = "".join(
        f'[[access_tokens]]\nname = "{role}"\ntenant = "northlight"\nrole = "{role}"\n'
        f'sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
        for role, token in TOKENS.items()
    )
    (folder / "key").write_text("00" * 32)
    (folder / "cloud.toml").write_text(
        f'[database]\ndsn = "{dsn}"\n[http]\nport = 0\n{tokens}'
        f'[privacy]\nkey = "one"\npaths = {{ one = "{folder / "key"}" }}\n'
        '[passkeys]\ndomain = "localhost"\norigins = ["http://localhost:1"]\n'
        '[companies]\naddress = "http://localhost:1"\n[log]\nlevel = "error"\n'
    )
    configured = load(CloudSettings, folder / "cloud.toml", "INNKEEPER_CLOUD", {})
    bound: Future[int] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        database = Database(dsn, most=2, actor=system("test"))
        await database.open()
        for house in (AURORA, BOREALIS):
            await open_house(database, house)
        async with database.transaction() as connection:  # we ask more in a second than any caller may
            await connection.execute(
                "INSERT INTO platform.rate_rule (tenant, caller, kind, per_minute, burst)"
                " SELECT 'northlight', '', kind, 1000000, 1000000 FROM unnest(ARRAY['read', 'write']) AS kind"
            )
        await database.close()
        await run(configured, clock=SystemClock("host"), dice=SystemDice(), bound=bound.set_result, stop=stop)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="cloud")
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.result(UP_S)}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(UP_S)
        loop.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    with running_postgres(folder) as server:
        dsn = fresh_database(server, "openapi")
        upgrade(dsn)
        with _running(folder, dsn) as found:
            yield found


@pytest.fixture(scope="module")
def document(address: str) -> dict[str, Any]:
    answer = httpx.get(
        f"{address}/api/v1/schema/openapi.json", headers={"Authorization": f"Bearer {TOKENS['viewer']}"}
    )  # fmt: skip
    assert answer.status_code == 200
    return dict(answer.json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_example_fits_its_schema_and_every_error_is_a_problem(document: dict[str, Any]) -> None:
    wrong, seen = [], 0

    def judge(where: str, content: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        if "example" not in content:
            wrong.append(f"{where}: no example")
            return
        whole = {**content["schema"], "components": document["components"]}
        validator = jsonschema_rs.validator_for(whole, validate_formats=True)
        wrong.extend(f"{where}: {error.message}" for error in validator.iter_errors(content["example"]))

    for name, operation in operations(document):
        assert operation.get("summary"), name
        for parameter in operation.get("parameters", []):
            judge(f"{name} ?{parameter['name']}", parameter)
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            judge(f"{name} body {kind}", content)
        for status, answer in operation["responses"].items():
            contents = answer.get("content", {})
            if int(status) >= 400:
                assert list(contents) == ["application/problem+json"] or status == "414", f"{name}: {status}"
            elif "application/json" in contents:
                judge(f"{name}: {status}", contents["application/json"])
    assert wrong == [], "\n".join(wrong)
    assert seen > 150


def test_the_examples_themselves_are_understood(address: str, document: dict[str, Any]) -> None:
    """Sent as they stand, none is said to be of a wrong form: what they name may not be there."""
    wrong = []
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {TOKENS['admin']}"}) as http:
        for name, operation in operations(document):
            method, path = name.split(" ")
            if "requestBody" not in operation or path in KEPT_OUT:
                continue
            for parameter in operation.get("parameters", []):
                path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
            body = operation["requestBody"]["content"]["application/json"]["example"]
            answer = http.request(method, path, json=body)
            if is_defect(answer.status_code, answer.text) or (answer.status_code == 400 and "errors" in answer.json()):
                wrong.append(f"{name}: {answer.status_code} {answer.text[:300]}")
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "forbidden"])
def test_no_request_is_answered_otherwise_than_described(
    address: str, document: dict[str, Any], mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    checks = [no_defect, *CHECKS, *([is_refused] if mode is GenerationMode.NEGATIVE else [])]
    wrong: dict[str, str] = {}
    asked: set[str] = set()
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKENS['admin']}"
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            if operation.path in KEPT_OUT and operation.method == "post":
                continue
            asked.add(operation.label)
            run_one = _asking(operation, mode, session, address, checks)
            try:
                run_one()
            except (Failure, FailureGroup, AssertionError) as failed:
                wrong[operation.label] = str(failed)[:1_500]
    assert wrong == {}, "\n\n".join(f"{name}: {said}" for name, said in wrong.items())
    assert len(asked) > 60


def _asking(
    operation: Any, mode: GenerationMode, session: requests.Session, address: str, checks: list[Any]
) -> Callable[[], None]:
    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        for name in ("property_id",):
            if name in case.path_parameters and mode is GenerationMode.POSITIVE:
                case.path_parameters[name] = AURORA.id
        case.call_and_validate(base_url=address, session=session, checks=checks, allow_redirects=False)

    return ask
