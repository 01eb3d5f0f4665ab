"""What `innkeeper-cloud verify` prints of a stream."""

from collections.abc import Iterator

from cloud.telemetry.completeness import Completeness
from cloud.telemetry.reading_proof import ReadingsProof


def verdict(each: Completeness) -> str:
    """Return a line of totals, then one line a flaw or declared range, named by its positions."""
    total = (
        f"{each.edge} {each.incarnation.hex()} {each.lane.value}: hi {each.hi}, {each.count} records,"
        f" {each.missing} missing, {each.duplicates} stored twice, {each.out_of_order} out of order,"
        f" {each.chain_breaks} chain breaks, {_followed(each)}{each.holes_in_all} declared,"
        f" {_days(each.days_read)} read, {_days(each.days_trusted)} by checkpoint:"
        f" {'holds' if each.holds else 'BROKEN'}"
    )
    return "\n  ".join([total, *_named(each)]) + "\n"


def readings_verdict(each: ReadingsProof) -> str:
    """Return a line of totals of a stream's readings in the time series, then one line a flaw."""
    missing, foreign, changed = each.missing.found, each.foreign.found, each.changed.found
    whose = f"{each.edge} {each.incarnation.hex()} {each.lane}" if each.edge else "no stream"
    total = (
        f"{whose}: time series: {each.compared} as their records say, {missing.positions} missing,"
        f" {changed.positions} changed, {foreign.positions} without a record,"
        f" {each.let_go} whose records were let go, {each.unplaced} there was no room for:"
        f" {'holds' if each.holds else 'BROKEN'}"
    )
    ranges = [
        f"{what} {first}-{last}"
        for what, found in (("missing", missing), ("changed", changed), ("without a record, or twice", foreign))
        for first, last in found.shown
    ]
    return "\n  ".join([total, *ranges, *each.changes]) + "\n"


def _named(each: Completeness) -> Iterator[str]:
    if each.stray:
        yield "there is no mark of this stream"
    for what, ranges in (
        ("missing", each.gaps),
        ("stored twice", each.doubled),
        ("out of order", each.disordered),
        ("not what the building's chain says", each.rewritten),
    ):
        yield from (f"{what} {first}-{last}" for first, last in ranges)
    for hole in each.spoilt:
        yield f"{hole.stored} records in {hole.reason} {hole.first}-{hole.last}, of which {hole.told} were told"
    if each.inside_off:
        fewer = "fewer" if each.inside_off > 0 else "more"
        yield f"{abs(each.inside_off)} records {fewer} inside of holes than were told"
    for first, last, count, where in each.elsewhere:
        yield f"{count} records from {first} to {last} stand under the property {where}"
    yield from (f"changed since it was proved: {day:%Y-%m-%d}" for day in each.changed_days)
    yield from (f"gone, and not by retention: {day:%Y-%m-%d}" for day in each.vanished_days)
    yield from (f"{hole.reason} {hole.first}-{hole.last}" for hole in each.holes)
    if each.holes_in_all > len(each.holes):
        yield f"and {each.holes_in_all - len(each.holes)} more declared"


def _followed(each: Completeness) -> str:
    return f"chain followed over {each.chain_followed}, " if each.chain_followed else ""


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
