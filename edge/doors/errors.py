"""What the doors process refuses besides wrong input, by name."""

from protocols.errors import PlatformError


class ClockUnsoundError(PlatformError):
    """The edge does not know the time well enough to sign: nothing was signed. Try again once it does."""

    retryable = True


class StayEndedError(PlatformError):
    """The stay has ended at the doors: no right can be issued for it any more."""
