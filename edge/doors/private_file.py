"""A database whose files are its owner's alone, also where a copy was put back by a tool that gave it other rights."""

import contextlib
import stat
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600
_TAILS: Final = ("", "-wal", "-shm")


def made_private(path: Path) -> None:
    """Make the file at `path` if there is none, and see that nobody but its owner reads it or its journal.

    Where that is not this process's to change (a file of another owner) it stays as it is: doors must go on.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=OWNER_ONLY)
    for each in (path.with_name(path.name + tail) for tail in _TAILS):
        with contextlib.suppress(OSError):
            if each.is_file() and stat.S_IMODE(each.stat().st_mode) & 0o077:
                each.chmod(OWNER_ONLY)
