"""What the book refuses, in words that an engineer with two hands full can act on."""

from protocols.device_model.identity import DeviceId
from protocols.errors import PlatformError


class ChangedMeanwhileError(PlatformError):
    """Somebody else changed the device since the asker looked: nothing was done. Look again, and decide again."""

    def __init__(self, device: DeviceId, *, seen: int, stands: int, by: str | None) -> None:
        who = "" if by is None else f", last by {by}"
        super().__init__(
            f"{device}: you saw version {seen}, and it is at {stands}{who}: nothing was done; look again, then decide"
        )
        self.device, self.seen, self.stands, self.by = device, seen, stands, by


class BindingRefusedError(PlatformError):
    """It cannot be so: the name is taken, the address too, the model does less. Nothing was done."""

    def __init__(self, device: DeviceId, problem: str, *, kind: str) -> None:
        super().__init__(f"{device}: {problem}")
        self.device, self.problem, self.kind = device, problem, kind


class UnknownDeviceError(PlatformError):
    """Nobody planned, bound or met a device of that name."""

    def __init__(self, device: str) -> None:
        super().__init__(f"{device}: there is no such device here, and nothing of that name was found on a bus")
        self.device = device
