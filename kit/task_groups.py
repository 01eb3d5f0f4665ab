"""`asyncio.TaskGroup` that leaves no cancellation of its own behind.

A group whose child fails cancels the task it stands in, so that the body ends, and takes that back when it ends. On
CPython 3.11 and 3.12 it does not take it back where the child fails while the group waits for its children, which is
the usual case: `task.cancelling()` then says for ever that somebody asked the task to end, and whoever heeds that
(`kit.cancellation.heed_cancellation`) ends after the first failure. 3.13 mended it.
"""

import asyncio
import sys
from types import TracebackType
from typing import Final

_LEFT_BEHIND: Final = sys.version_info < (3, 13)


class TaskGroup(asyncio.TaskGroup):  # noqa: TID251 - this is it
    """Use it wherever a task goes on after its group failed."""

    async def __aexit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End the group: see `asyncio.TaskGroup`."""
        before = _asked(self)  # then it is taken back by the group itself
        try:
            await super().__aexit__(et, exc, tb)
        finally:
            if _LEFT_BEHIND and _asked(self) and not before:
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()


def _asked(group: TaskGroup) -> bool:
    """Tell whether the group has asked its task to end."""
    return bool(getattr(group, "_parent_cancel_requested", False))
