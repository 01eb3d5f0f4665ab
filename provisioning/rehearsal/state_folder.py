"""The folder of a rehearsal: taken by one rehearsal at a time, and emptied only where a rehearsal filled it.

`run/` inside it is thrown away at every start, so it carries a mark that it is ours; anything else is refused by name.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from protocols.errors import InvalidInputError

MARK: Final = ".innkeeper-rehearsal"
MARK_WORDS: Final = "A rehearsal of Innkeeper made this folder and empties it when it begins again.\n"
LOCK: Final = "rehearsal.lock"
_UNMARKED: Final = frozenset(
    {"broker-cloud", "broker-site", "config", "doors", "edge", "locks", "logs", "postgres"}
)  # what a run folder held before it was marked
_UNMARKED_SIGN: Final = Path("config", "site_plan.json")


@contextmanager
def taken(state: Path) -> Iterator[None]:
    """Hold a state folder, made if absent, for the length of the block; another rehearsal on it is refused.

    The lock ends with the process that holds it, however that ends.

    Raises:
        InvalidInputError: another rehearsal holds it, or it cannot be made or written.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        file = os.open(state / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInputError(str(state), f"cannot be used as a state folder: {_reason(error)}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(file, 20, 0).decode(errors="replace").strip() or "unknown"
            problem = f"another rehearsal runs on it (process {holder}): end that one, or give another --state"
            raise InvalidInputError(str(state), problem) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def emptied(run: Path) -> None:
    """Empty a run folder, or make it, and mark it as ours.

    Raises:
        InvalidInputError: it holds something that no rehearsal left there, or cannot be emptied.
    """
    try:
        if run.is_symlink() or (run.exists() and not _ours(run)):
            problem = "was not made by a rehearsal and would be deleted: move it away, or give another --state"
            raise InvalidInputError(str(run), problem)
        run.mkdir(parents=True, exist_ok=True, mode=0o700)
        run.chmod(0o700)
        (run / MARK).write_text(MARK_WORDS)  # first and never taken away: an emptying that is cut off is still ours
        for each in run.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            elif each.name != MARK:
                each.unlink()
    except OSError as error:
        raise InvalidInputError(str(run), f"cannot be emptied: {_reason(error)}") from error


def _ours(run: Path) -> bool:
    if not run.is_dir():
        return False
    found = {each.name for each in run.iterdir()}
    return not found or MARK in found or (found <= _UNMARKED and (run / _UNMARKED_SIGN).is_file())


def _reason(error: OSError) -> str:
    return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
