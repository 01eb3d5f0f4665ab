"""Run pytest, once or several times beside each other; where few tests failed, run those once more, alone, and name
what came out different.

`make test` plays thousands of tests beside real programs on a machine it does not have for itself. A test that fails
there and passes alone is unsteady: that is told, aloud and last, and to be mended; a defect fails twice. More than
FEW_MAX failures are never chance, and `make check` and plain pytest never run anything twice.

`python -m tests.once_more tests/integration + tests/e2e`: two runs beside each other, each with arguments of its own.
What the first says is shown as it says it, the others' when they have ended.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

FEW_MAX: Final = 10
"""Of more than ten thousand, many of them beside real programs on two busy cores."""
TESTS_FAILED: Final = 1
"""pytest's exit code where tests were run and some failed; others (usage, interrupt, own error) say nothing of tests"""
BESIDE: Final = "+"
FOLDER: Final = Path("build/once_more")
"""Each invocation has a folder of its own in it, which goes with it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest: its arguments, and what it leaves in a folder of its own."""

    arguments: tuple[str, ...]
    folder: Path

    @property
    def command(self) -> list[str]:
        """The program, with what it remembers kept apart from the other runs' memory."""
        return [sys.executable, "-m", "pytest", *self.arguments, "-o", f"cache_dir={self.folder / 'cache'}"]

    @property
    def said(self) -> Path:
        """What it printed, unless that went straight to the terminal."""
        return self.folder / "said.txt"

    def failed(self) -> list[str]:
        """Return what failed in its last run, by node id; none if it tells of none."""
        told = self.folder / "cache/v/cache/lastfailed"
        return sorted(json.loads(told.read_text(encoding="utf-8"))) if told.is_file() else []

    def once_more(self, code: int) -> int:
        """Run again what failed, if that can be chance; return the exit code that counts."""
        first = self.failed()
        if code != TESTS_FAILED or not 0 < len(first) <= FEW_MAX:
            return code
        print(f"\nonce more: {len(first)} failed; run alone now, after what is above\n", flush=True)
        again = [*self.command, "--last-failed", "--last-failed-no-failures", "none"]
        code = subprocess.run(again, check=False).returncode
        still = self.failed()
        for each in first:
            print(f"once more: {'FAILED TWICE' if each in still else 'UNSTEADY, to be mended'}: {each}", flush=True)
        return code


def runs_of(arguments: Sequence[str], folder: Path) -> list[Run]:
    """Return the runs that a command line asks for, in its order; each gets a folder of its own in `folder`."""
    parts: list[list[str]] = [[]]
    for each in arguments:
        if each == BESIDE:
            parts.append([])
        else:
            parts[-1].append(each)
    return [Run(tuple(part), folder / str(number)) for number, part in enumerate(parts)]


def _beside_each_other(runs: Sequence[Run]) -> list[int]:
    """Run all at once; return their exit codes in order. None outlives this, however it ends."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for run in runs:
            run.folder.mkdir(parents=True)
            if not started:
                started.append(subprocess.Popen(run.command))
                continue
            with run.said.open("wb") as said:
                started.append(subprocess.Popen(run.command, stdout=said, stderr=subprocess.STDOUT))
        codes = [each.wait() for each in started]
    finally:
        for each in started:
            if each.poll() is None:
                each.terminate()
                each.wait()
    for run in runs[1:]:
        print(f"\nbeside it: {' '.join(run.arguments)}", flush=True)
        print(run.said.read_text(encoding="utf-8", errors="replace"), flush=True)
    return codes


def main(arguments: Sequence[str]) -> int:
    """Run pytest with `arguments`; return the exit code of the first run that failed for good, 0 if none did."""
    signal.signal(signal.SIGTERM, _end)
    folder = FOLDER / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    try:
        runs = runs_of(arguments, folder)
        codes = _beside_each_other(runs)
        ends = [run.once_more(code) for run, code in zip(runs, codes, strict=True)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return next((code for code in ends if code), 0)


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave in order when told to end, so that what was started ends too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
