"""The phone as a program: every line gets its answer, nonsense too."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from firmware_bridges.ble_radio.hci_port import HciPort
from kit.dice import SeededDice
from tests.firmware_bridges.innkeeper_lock.world import world

WAIT_S = 30.0


async def talk(hci: str, *lines: str) -> tuple[list[dict[str, Any]], int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "firmware_bridges.guest_phone",
        "--hci",
        hci,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate("\n".join(lines).encode() + b"\n"), WAIT_S)
    assert process.returncode is not None
    return [json.loads(line) for line in out.splitlines()], process.returncode


async def test_every_line_gets_its_answer(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        port = await HciPort(hotel.emulator.air, SeededDice("port")).start()
        try:
            answers, status = await talk(
                port.transport,
                '{"do":"open","door":"door-101","id":7}',
                '{"do":"new_key"}',
                '{"do":"preflight","door":"door-101"}',
                '{"do":"load_bundle","bundle":{"v":1}}',
                '{"do":"dance"}',
                "no json",
                "[1]",
                '{"do":"quit"}',
                '{"do":"new_key"}',
            )
        finally:
            await port.close()
    assert status == 0
    assert len(answers) == 7, "quit has no answer, and nothing after it is heard"
    opened, key, preflight, *refused = answers
    assert (opened["id"], opened["ok"], opened["ending"], opened["reason"]) == (7, True, "failed", "no_key")
    assert len(bytes.fromhex(key["public_key"])) == 33
    assert preflight["reason"] == "no_bundle"
    assert preflight["spoken"].startswith("No room key")
    assert [each["ok"] for each in refused] == [False] * 4
    assert all(each["error"] for each in refused)


async def test_without_bluetooth_it_says_so_and_ends() -> None:
    answers, status = await talk("tcp-client:127.0.0.1:1", '{"do":"new_key"}')
    assert (answers, status) == ([], 2)
