"""What the doors process refuses besides wrong input, by name."""

from protocols.errors import PlatformError


class ClockUnsoundError(PlatformError):
    """The edge does not know the time well enough to sign: nothing was signed. Try again once it does."""

    retryable = True


class LockEmptyError(PlatformError):
    """The cells of a room's lock are as good as empty: nobody new is sent to that door."""


class StayEndedError(PlatformError):
    """The stay has ended at the doors: no right can be issued for it any more."""
