"""One guest with a phone: the phone emulator as a process of its own, driven line by line."""

import asyncio
import contextlib
import copy
import json
import sys
from pathlib import Path
from typing import Any, Final

from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from provisioning.rehearsal.leash import leashed

ANSWER_WAIT_S: Final = 30.0
STOP_WAIT_S: Final = 5.0
LINE_BYTES_MOST: Final = 256 * 1024
TAPS_MOST: Final = 4
"""Nobody taps more often before calling the desk."""


class Guest:
    """A guest, the phone in their hand, and the bundle it was given."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, turn: asyncio.Lock | None = None) -> None:
        self.name, self._process = name, process
        self._turn = turn or asyncio.Lock()
        self._companion = turn is not None
        self.public_key = ""
        self.issued: dict[str, Any] = {}
        """The bundle as the property gave it."""

    @classmethod
    async def start(cls, name: str, *, hci: str, log_folder: Path) -> "Guest":
        """Start a phone on the emulated radio and make its key."""
        with (log_folder / f"phone-{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *leashed([sys.executable, "-m", "firmware_bridges.guest_phone", "--hci", hci]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_BYTES_MOST,
                start_new_session=True,
            )
        guest = cls(name, process)
        guest.public_key = (await guest._ask(do="new_key"))["public_key"]
        return guest

    async def companion(self, name: str) -> "Guest":
        """Return another guest, whose phone has keys of its own and is emulated by the same process, on its radio."""
        guest = Guest(name, self._process, self._turn)
        guest.public_key = (await guest._ask(do="new_key"))["public_key"]
        return guest

    async def receive(self, bundle: dict[str, Any]) -> int:
        """Take over the bundle that the property issued to this guest; return when it ends, unix ms."""
        self.issued = copy.deepcopy(bundle)
        return await self.load(bundle)

    async def load(self, bundle: dict[str, Any]) -> int:
        """Load any bundle into the phone, also one that is not this guest's; return when it ends, unix ms."""
        return int((await self._ask(do="load_bundle", bundle=bundle))["not_after_ms"])

    async def open(self, door: str) -> dict[str, Any]:
        """Tap a door once: `ending` is opened, refused, failed or unknown; `reason` says why not."""
        return await self._ask(do="open", door=door)

    async def open_as_guests_do(self, door: str) -> dict[str, Any]:
        """Tap until the lock's answer was heard, as the phone's words ask for; `taps` says how often that was.

        The air is misbehaving by default: an attempt may end `failed` (not asked) or `unknown` (the answer was lost).
        `asked`: how often the lock may have been asked, as a phone asks more than once for one tap.
        """
        answer, taps = await self.open(door), 1
        asked = answer["tries"]
        while answer["ending"] not in ("opened", "refused") and taps < TAPS_MOST:
            answer, taps = await self.open(door), taps + 1
            asked += answer["tries"]
        return {**answer, "taps": taps, "asked": asked}

    async def latch_as_staff_do(self, door: str, *, hold: bool) -> dict[str, Any]:
        """Hold a common door open, or let it go; as `open_as_guests_do`. Ends `opened`, and `done` when let go."""
        answer: dict[str, Any] = {"ending": ""}
        taps = 0
        while answer["ending"] not in ("opened", "done", "refused") and taps < TAPS_MOST:
            answer, taps = await self._ask(do="latch", door=door, hold=hold), taps + 1
        return {**answer, "taps": taps}

    async def stop(self) -> None:
        """Switch the phone off."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_WAIT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _ask(self, **request: object) -> dict[str, Any]:
        async with self._turn:  # answers come in the order of the requests
            return await self._once({**request, "as": self.name} if self._companion else request)

    async def _once(self, request: dict[str, object]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None or self._process.returncode is not None:
            raise LinkLostError(f"the phone of {self.name} is off")
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            async with asyncio.timeout(ANSWER_WAIT_S):
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise ReplyTimeoutError(f"the phone of {self.name} did not answer {request['do']!r}") from error
        except OSError as error:
            raise LinkLostError(f"the phone of {self.name} went off") from error
        if not line:
            raise LinkLostError(f"the phone of {self.name} went off while asked {request['do']!r}")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("ok") is not True:
            raise PeerProtocolError(f"the phone of {self.name} refused {request['do']!r}: {answer.get('error')}")
        return answer
