"""Who signs lane A's heads, where they are kept, and the copy of the newest one beside the store.

Source of truth: SPEC.md 4.1; docs/decisions/0012. The key is handed in by the composition root; the record log signs at
every tidying and at close. A head proves something only where the one who rewrites the log cannot reach: hand it on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from edge.log.lane_file import LaneFile
from kit.files import Disk, write_atomic
from protocols.device_model.identity import EdgeId
from protocols.link.signed_head import LogHead, sign_head

FILE_NAME: Final = "lane-a.head"
HEADS_KEPT: Final = 10_000
"""Signed heads kept in the lane's file: a week of one a minute."""


@dataclass(frozen=True, slots=True)
class HeadSigner:
    """Signs heads in the name of `edge` with a P-256 key known as `kid`."""

    edge: EdgeId
    key: ec.EllipticCurvePrivateKey
    kid: bytes

    def sign(self, incarnation: bytes, seq: int, link: bytes, at_ms: int) -> bytes:
        """Return the signed head."""
        return sign_head(LogHead(self.edge, incarnation, seq, link, at_ms), self.key, self.kid)


class KeptHeads:
    """The newest signed heads, in the lane's own file."""

    def __init__(self, file: LaneFile) -> None:
        self._file = file

    def keep(self, life: int, seq: int, head: bytes) -> None:
        """Keep a head of an incarnation; the oldest beyond `HEADS_KEPT` go. Raises StoreFailedError."""
        self._file.write("INSERT OR REPLACE INTO signed_head (life, seq, head) VALUES (?, ?, ?)", (life, seq, head))
        self._file.write(
            "DELETE FROM signed_head WHERE (life, seq) IN "
            "(SELECT life, seq FROM signed_head ORDER BY life DESC, seq DESC LIMIT -1 OFFSET ?)",
            (HEADS_KEPT,),
        )

    def newest(self, life: int) -> tuple[int, bytes] | None:
        """Return (position, signed head) of the newest one of an incarnation."""
        for seq, head in self._file.all(
            "SELECT seq, head FROM signed_head WHERE life = ? ORDER BY seq DESC LIMIT 1", (life,)
        ):
            return seq, head
        return None


def write_head(disk: Disk, folder: Path, head: bytes) -> None:
    """Replace the copy beside the store. Raises StoreFailedError."""
    write_atomic(disk, folder / FILE_NAME, head)


def read_head(folder: Path) -> bytes | None:
    """Return the copy beside the store, None if there is none."""
    try:
        return (folder / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return None
