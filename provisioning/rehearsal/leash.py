"""Ties a program to the rehearsal that starts it: it ends when the rehearsal ends, also when that is killed.

Linux only (PR_SET_PDEATHSIG); elsewhere a program is started as it is. The signal is tied to the thread that starts the
program, so start programs from a thread that lives as long as they shall: the one of the event loop. A small program
sets it and then becomes the wanted one, with the same process id; nothing of ours runs between fork and exec.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_SHIM: Final = (
    "import ctypes,os,sys,warnings;"  # os imports warnings when it looks for the program, as a user who may not read it
    "user=int(sys.argv[2]);"
    "user<0 or (os.setgroups([]),os.setgid(user),os.setuid(user));"  # before: a change of user undoes the setting
    f"ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG},{int(signal.SIGKILL)});"
    "os.getppid()==int(sys.argv[1]) or os._exit(1);"  # the parent was gone before the setting
    "os.execvp(sys.argv[3],sys.argv[3:])"
)


def leashed(argv: Sequence[str], *, user: int | None = None) -> list[str]:
    """Return the arguments that run `argv`, as `user` (also its group; None: as ourselves), tied to this process."""
    if sys.platform != "linux":
        if user is not None:
            raise NotImplementedError(f"starting a program as user {user} is known on Linux only, not {sys.platform}")
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), str(-1 if user is None else user), *argv]
