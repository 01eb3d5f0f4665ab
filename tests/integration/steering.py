"""Another clock for a real process: what its machine answers, moved while it runs (steered_clock/sitecustomize.py)."""

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).with_name("steered_clock")
ROOT = Path(__file__).resolve().parents[2]


class Steering:
    """The clocks of the processes that are started with `environment`. They survive those: time goes on meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "steered-clock"
        self._wall_s = self._monotonic_s = 0.0
        self._disciplined = True
        self._write()

    @property
    def environment(self) -> Mapping[str, str]:
        path = os.pathsep.join([str(FOLDER), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"STEERED_CLOCK": str(self._path), "PYTHONPATH": path}

    @property
    def wall_s(self) -> float:
        """How far the wall clock is from the true one."""
        return self._wall_s

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall_s += seconds
        self._write()

    def pass_time(self, seconds: float) -> None:
        """Time passes, on both clocks."""
        self._wall_s += seconds
        self._monotonic_s += seconds
        self._write()

    def set_disciplined(self, *, disciplined: bool) -> None:
        """Whether the kernel hears a time source."""
        self._disciplined = disciplined
        self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(f"{self._wall_s} {self._monotonic_s} {int(self._disciplined)}\n")
        new.replace(self._path)  # nobody reads half of it
