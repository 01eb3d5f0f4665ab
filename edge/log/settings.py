"""Settings of the record log, one table a lane."""

import msgspec

from protocols.link.lanes import Lane

PAGE_BYTES = 4096


class LaneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one lane may take, and how long it gathers company before it commits.

    `pages_max`: pages of 4096 bytes the lane's file may have; `linger_ms`: how long the first waiting record waits
    for more; `group_records_max`: how many go into one commit; `pending_records_max`: how many may wait before
    `append` waits too;
    `keep_acked_records`: how many the cloud has stored are kept for local readers and for a cloud that lost some.
    """

    pages_max: int
    linger_ms: int = 10
    group_records_max: int = 200
    pending_records_max: int = 10_000
    keep_acked_records: int = 50_000


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record log's three lanes; sizes as guarantees G1 and G9 lean on them: 2, 1 and 4 GiB."""

    a: LaneSettings = LaneSettings(pages_max=2 * 1024**3 // PAGE_BYTES, linger_ms=2, keep_acked_records=200_000)
    b: LaneSettings = LaneSettings(pages_max=1024**3 // PAGE_BYTES)
    c: LaneSettings = LaneSettings(pages_max=4 * 1024**3 // PAGE_BYTES)

    def lane(self, lane: Lane) -> LaneSettings:
        """Return the settings of one lane."""
        return {Lane.A: self.a, Lane.B: self.b, Lane.C: self.c}[lane]
