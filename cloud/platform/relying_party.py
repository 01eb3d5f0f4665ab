"""For whom passkeys are made, and from which pages they may be used."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """For whom passkeys are: a domain, what people see, and the origins of our pages in it."""

    id: str
    name: str
    origins: tuple[str, ...]

    def __post_init__(self) -> None:
        """Judge the origins.

        Raises:
            ValueError: an origin is not https, says more than scheme, host and port, or is not of the domain.
        """
        if not self.id or self.id != self.id.lower() or not self.origins:
            raise ValueError("want a domain in small letters and at least one origin")
        for each in self.origins:
            parts = urlsplit(each)
            host = parts.hostname or ""
            secure = parts.scheme == "https" or (parts.scheme == "http" and host == "localhost")
            if not secure or each != f"{parts.scheme}://{parts.netloc}" or parts.username is not None:
                raise ValueError(f"origins: {each!r}: want https://host or https://host:port and nothing more")
            if host != self.id and not host.endswith(f".{self.id}"):
                raise ValueError(f"origins: {each!r} does not lie in the domain {self.id!r}")
