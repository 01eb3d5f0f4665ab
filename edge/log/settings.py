"""Settings of the record log, one table a lane."""

import msgspec

from protocols.link.lanes import Lane

PAGE_BYTES = 4096
GROUP_RECORDS_TAKEN = 2_000
"""Records in one commit, at most, but for one larger append, which is never parted."""


class LaneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one lane may take, and how long it gathers company before it commits.

    A group closes when `linger_ms` are over or `group_records_max` records wait; it takes everything that waits then,
    at most `GROUP_RECORDS_TAKEN`. `pages_max`: pages of 4096 bytes the lane's file may have; `linger_ms`: how long the
    first waiting record waits for more; `pending_records_max`: how many may wait before `append` waits too;
    `keep_acked_records`: how many the cloud has stored are kept for local readers and for a cloud that lost some.
    """

    pages_max: int
    linger_ms: int = 10
    group_records_max: int = 200
    pending_records_max: int = 10_000
    keep_acked_records: int = 50_000


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record log's three lanes; sizes as guarantees G1 and G9 lean on them: 2, 1 and 4 GiB.

    `ballast_bytes`: set aside on the disk, let go when it is full so that lane A goes on (some 200,000 door events);
    `tidy_every_ms`: how soon after a commit heads are signed, the witness is written and what the log has to say is
    said.
    """

    a: LaneSettings = LaneSettings(pages_max=2 * 1024**3 // PAGE_BYTES, linger_ms=2, keep_acked_records=200_000)
    b: LaneSettings = LaneSettings(pages_max=1024**3 // PAGE_BYTES)
    c: LaneSettings = LaneSettings(pages_max=4 * 1024**3 // PAGE_BYTES)

    ballast_bytes: int = 64 * 1024 * 1024
    tidy_every_ms: int = 60_000

    def lane(self, lane: Lane) -> LaneSettings:
        """Return the settings of one lane."""
        return {Lane.A: self.a, Lane.B: self.b, Lane.C: self.c}[lane]
