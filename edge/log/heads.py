"""Who signs lane A's heads, and the copy of the newest one beside the store.

Source of truth: SPEC.md 4.1; docs/decisions/0012. The key is handed in by the composition root; the record log signs at
every tidying and at close. A head proves something only where the one who rewrites the log cannot reach: hand it on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from kit.files import Disk, write_atomic
from protocols.device_model.identity import EdgeId
from protocols.link.signed_head import LogHead, sign_head

FILE_NAME: Final = "lane-a.head"


@dataclass(frozen=True, slots=True)
class HeadSigner:
    """Signs heads in the name of `edge` with a P-256 key known as `kid`."""

    edge: EdgeId
    key: ec.EllipticCurvePrivateKey
    kid: bytes

    def sign(self, incarnation: bytes, seq: int, link: bytes, at_ms: int) -> bytes:
        """Return the signed head."""
        return sign_head(LogHead(self.edge, incarnation, seq, link, at_ms), self.key, self.kid)


def write_head(disk: Disk, folder: Path, head: bytes) -> None:
    """Replace the copy beside the store. Raises StoreFailedError."""
    write_atomic(disk, folder / FILE_NAME, head)


def read_head(folder: Path) -> bytes | None:
    """Return the copy beside the store, None if there is none."""
    try:
        return (folder / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return None
