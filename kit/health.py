"""What a process says about itself: alive (else restart it) and ready (else send it no work), part by part."""

from typing import Any

from kit.clock import Clock


class Health:
    """Gathers the reports of a process's parts. Not thread-safe: report from the loop.

    Args:
        clock: where given, answers tell how long each part has been in its state (`for_ms`).
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._parts: dict[str, _Part] = {}

    def expect(self, part: str) -> None:
        """Name a part without which the process is not ready; until its first report it counts as not ok."""
        self._parts.setdefault(part, _Part(expected=True, since_ms=self._now_ms())).expected = True

    def report(self, part: str, ok: bool, detail: str = "", *, fatal: bool = False) -> None:
        """Take a part's state.

        Args:
            part: its name; reporting an unexpected part shows it but does not make readiness depend on it.
            ok: whether it does its work.
            detail: one line for the operator; no secrets, it is served without authentication.
            fatal: with `ok=False`, the process cannot mend itself: no longer alive, restart it.
        """
        known = self._parts.setdefault(part, _Part(expected=False, since_ms=self._now_ms()))
        if known.ok is not ok:
            known.since_ms = self._now_ms()
        known.ok, known.detail, known.fatal = ok, detail, fatal and not ok

    def live(self) -> tuple[bool, dict[str, Any]]:
        """Return whether a restart is not called for, and the parts that do not do their work, fatal or not."""
        ailing = {name: part for name, part in self._parts.items() if part.ok is False}
        dead = any(part.fatal for part in ailing.values())
        return not dead, {"status": "dead" if dead else "alive", "parts": self._told(ailing)}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Return whether every expected part is ok, and all parts."""
        ready = all(part.ok is True for part in self._parts.values() if part.expected)
        return ready, {"status": "ready" if ready else "not_ready", "parts": self._told(self._parts)}

    def _told(self, parts: dict[str, "_Part"]) -> dict[str, dict[str, Any]]:
        now_ms = self._now_ms()
        told: dict[str, dict[str, Any]] = {}
        for name, part in sorted(parts.items()):
            told[name] = {"ok": part.ok, "expected": part.expected, "detail": part.detail}
            if now_ms is not None and part.since_ms is not None:
                told[name]["for_ms"] = now_ms - part.since_ms
        return told

    def _now_ms(self) -> int | None:
        return None if self._clock is None else self._clock.now_ms()


class _Part:
    __slots__ = ("detail", "expected", "fatal", "ok", "since_ms")

    def __init__(self, *, expected: bool, since_ms: int | None) -> None:
        self.ok: bool | None = None  # None: has not spoken yet
        self.detail = ""
        self.fatal = False
        self.expected = expected
        self.since_ms = since_ms
