"""Charges and bills over the local API, with an interface program behind the session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.api.pms_routes import pms_routes
from edge.api.token import guard
from kit.http import PROBLEM_TYPE, application, serving
from protocols.errors import LinkLostError
from protocols.fias.record import Record
from tests.edge.bridges.fias.test_charges import posting, state
from tests.edge.bridges.fias.test_fias import World, until

TOKEN = "a" * 64
TEA = {"key": "minibar-1", "room": "101", "minor": 450, "text": "Tea", "kind": "M", "guest_number": "88120"}


@asynccontextmanager
async def site(tmp_path: Path, **more: Any) -> AsyncIterator[tuple[World, httpx.AsyncClient]]:
    async with posting(tmp_path, **more) as w:
        app = application(pms_routes(w.session), guards=[guard(TOKEN)])
        async with (
            serving(app) as port,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}/api/v1/pms", headers={"Authorization": f"Bearer {TOKEN}"}
            ) as http,
        ):
            yield w, http


def told(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == PROBLEM_TYPE
    body: dict[str, Any] = answer.json()
    return body


async def test_a_charge_is_posted_once_and_stands_on_the_bill(tmp_path: Path) -> None:
    async with site(tmp_path) as (w, http):
        assert (await http.post("/charges", json=TEA, headers={"Authorization": ""})).status_code == 401
        for _ in range(2):
            assert told(await http.post("/charges", json=TEA))["key"] == "minibar-1"
        await until(lambda: state(w, "minibar-1") == "posted")
        [known] = told(await http.get("/charges"))["charges"]
        assert (known["state"], known["number"], len(w.pms.posted)) == ("posted", 1, 1)
        bill = told(await http.get("/bills/101/88120"))
        assert bill == {"balance_minor": 450, "lines": [{"text": "Tea IK00000001", "minor": 450, "window": "1"}]}
        assert "another charge" in told(await http.post("/charges", json=TEA | {"minor": 1}), 400)["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"minor": 0},
        {"minor": 10**12},
        {"room": "1|2"},
        {"guest_number": "x"},
        {"key": "short"},
        {"kind": "Q"},
        {"more": 1},
    ],
)
async def test_what_cannot_be_charged_is_bad_input(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async with site(tmp_path) as (w, http):
        told(await http.post("/charges", json=TEA | wrong), 400)
        told(await http.get("/bills/101/x"), 400)
        assert w.pms.posted == []


async def test_an_unknown_charge_is_settled_by_a_person_and_a_bill_without_a_link_is_not_there(tmp_path: Path) -> None:
    async with site(tmp_path) as (w, http):
        w.pms.script.append("NR")
        told(await http.post("/charges", json=TEA | {"guest_number": None}))
        await until(lambda: state(w, "minibar-1") == "unknown")
        told(await http.post("/charges/other/settle", json={"posted": True, "by": "desk"}), 400)
        settled = told(await http.post("/charges/minibar-1/settle", json={"posted": True, "by": "desk"}))
        assert (settled["state"], settled["said"]) == ("posted", "settled by desk")
        told(await http.post("/charges/minibar-1/settle", json={"posted": False, "by": "desk"}), 400)
        await w.pms.stop()
        await until(lambda: not w.session.alive)
        told(await http.get("/bills/101/88120"), 503)


async def test_a_house_whose_link_posts_nothing_says_so(tmp_path: Path) -> None:
    assert pms_routes(None) == []
    async with site(tmp_path, charges=False, bills=False) as (_, http):
        assert told(await http.post("/charges", json=TEA), 409)["type"].endswith("no-charges")
        assert told(await http.get("/bills/101/88120"), 409)["type"].endswith("no-bills")
        assert told(await http.get("/charges")) == {"charges": []}


async def test_a_guest_asks_over_the_api_for_what_the_link_allows(tmp_path: Path) -> None:
    more: dict[str, Any] = {"check_outs": True, "wake_ups": True, "messages": True, "inquiries": True}
    async with site(tmp_path, **more) as (w, http):
        w.pms.check_in("88120", "101", "Vidal", "260103")
        await until(lambda: w.in_room("101") != [])
        leaving = {"room": "101", "guest_number": "88120", "balance_minor": 1}
        assert told(await http.post("/check-outs", json=leaving)) == {"accepted": False, "status": "BM", "said": ""}
        call = {"room": "101", "at": "2026-01-02T06:30:00"}
        assert told(await http.post("/wake-ups", json=call)) == {"accepted": True, "status": "OK"}
        assert told(await http.post("/wake-ups", json=call | {"end": True})) == {"accepted": True, "status": "OK"}
        told(await http.post("/wake-ups", json=call | {"at": "2026-01-02T06:30:00Z"}), 400)
        [found] = told(await http.get("/guests/Vidal"))["guests"]
        assert (found["room"], found["guest_number"], found["balance_minor"]) == ("101", "88120", 0)
        assert told(await http.get("/guests/nobody")) == {"guests": []}
        w.pms.say(Record("XL", {"RN": "101", "G#": "88120", "MI": "m1", "MT": "A parcel"}))
        await until(lambda: w.session.messages("88120") != [])
        waiting = told(await http.get("/messages/88120"))["messages"]
        assert waiting == [{"message": "m1", "room": "101", "text": "A parcel"}]
        read = {"room": "101", "guest_number": "88120", "message": "m1"}
        assert told(await http.post("/messages/read", json=read)) == {}
        told(await http.post("/messages/read", json=read), 400)
        left = {"room": "101", "guest_number": "88120", "text": "Thank you"}
        assert told(await http.post("/messages", json=left), 202) == {}
        assert told(await http.post("/check-outs", json=leaving | {"balance_minor": 0}))["accepted"]
        await until(lambda: w.pms.out == ["88120"])
    with pytest.raises(LinkLostError):
        await w.session.wake_up("101", datetime(2026, 1, 2, 6, 30))  # noqa: DTZ001 - of the wall clock


async def test_what_the_link_does_not_allow_is_told_and_not_sent(tmp_path: Path) -> None:
    async with site(tmp_path) as (w, http):
        body = {"room": "101", "guest_number": "1"}
        asked = [
            await http.post("/check-outs", json=body | {"balance_minor": 0}),
            await http.post("/wake-ups", json={"room": "101", "at": "2026-01-02T06:30:00"}),
            await http.get("/guests/101"),
            await http.get("/messages/1"),
            await http.post("/messages", json=body | {"text": "x"}),
            await http.post("/messages/read", json=body | {"message": "1"}),
        ]
        for each in asked:
            assert told(each, 409)["type"].endswith("not-on-this-link")
        assert not [each for each in w.pms.heard if each.id in ("XC", "WR", "PR", "XL", "XD")]
