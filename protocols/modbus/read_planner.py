"""The read planner: the fewest block reads that fetch what a descriptor wants, within the unit's limits.

Source of truth: SPEC.md section 3. Pure. Greedy from the lowest address is optimal here: a block begins at a wanted
register in every best plan, and taking the next wanted register whenever it still fits never costs a block.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocols.descriptors.descriptor import Descriptor, Point, Table, unreadable_register
from protocols.descriptors.wires import ModbusWire
from protocols.errors import LocalProtocolError
from protocols.modbus.frames import Read


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the points that it answers."""

    read: Read
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a unit bears: registers in one read, unwanted ones in a row read along, and ones never to be read."""

    block_most: int
    gap_most: int
    unreadable: frozenset[tuple[Table, int]] = frozenset()

    @classmethod
    def of(cls, descriptor: Descriptor) -> "Limits":
        """Return the limits that a descriptor states; what can only be written is never read along. Of Modbus alone."""
        wire = descriptor.wire
        if not isinstance(wire, ModbusWire):
            raise LocalProtocolError(f"{descriptor.id} is no Modbus model")
        never = {unreadable_register(each) for each in wire.unreadable}
        for point in descriptor.points:
            if point.write_only and point.table is not None and point.register is not None:
                never |= {(point.table, point.register + word) for word in range(point.words)}
        return cls(wire.block_most, wire.gap_most, frozenset(never))


def plan(points: Iterable[Point], limits: Limits) -> list[Block]:
    """Return the reads for `points`, by table and address.

    Every point lies whole in exactly one block; no block is longer than `block_most`, spans a gap of more than
    `gap_most`, or touches an unreadable register.

    Raises:
        LocalProtocolError: a point is wider than a block may be, or itself unreadable.
    """
    placed: list[tuple[Table, int, int, Point]] = []
    for point in points:
        if point.table is None or point.register is None:
            raise LocalProtocolError(f"{point.capability}.{point.attribute} is on no register")
        first, end = point.span
        if end - first > limits.block_most:
            raise LocalProtocolError(f"{point.capability}.{point.attribute} is wider than {limits.block_most}")
        if any((point.table, each) in limits.unreadable for each in range(first, end) if each in _needed(point)):
            raise LocalProtocolError(f"{point.capability}.{point.attribute} lies on an unreadable register")
        placed.append((point.table, first, end, point))
    placed.sort(key=lambda each: (each[0], each[1], each[2]))
    blocks: list[Block] = []
    table: Table | None = None
    start = reach = 0
    taken: list[Point] = []
    for its_table, first, end, point in placed:
        fits = (
            its_table == table
            and first - reach <= limits.gap_most
            and max(end, reach) - start <= limits.block_most
            and not any((its_table, each) in limits.unreadable for each in range(reach, first))
        )
        if not fits:
            if table is not None:
                blocks.append(Block(Read(table, start, reach - start), tuple(taken)))
            table, start, reach, taken = its_table, first, end, []
        reach = max(reach, end)
        taken.append(point)
    if table is not None:
        blocks.append(Block(Read(table, start, reach - start), tuple(taken)))
    return blocks


def _needed(point: Point) -> set[int]:
    first = point.register or 0
    return {*range(first, first + point.words), *(() if point.exponent is None else (point.exponent,))}


def plan_by_interval(descriptor: Descriptor) -> dict[int, list[Block]]:
    """Return, for each poll interval in milliseconds, the reads that are due then.

    Points of different intervals that stand side by side are read together at the shorter one: a register read
    along costs nothing, a request of its own costs a round trip.
    """
    limits = Limits.of(descriptor)
    due: dict[int, list[Block]] = {}
    waiting: Sequence[Point] = [point for point in descriptor.points if not point.write_only]
    for every_ms in sorted({interval_ms(point) for point in waiting}):
        mine = [point for point in waiting if interval_ms(point) == every_ms]
        if not mine:
            continue
        blocks = plan(mine, limits)
        rest = [point for point in waiting if point not in mine]
        joined = [_with_neighbours(block, rest, limits) for block in blocks]
        due[every_ms] = joined
        riding = {id(point) for block in joined for point in block.points}
        waiting = [point for point in waiting if id(point) not in riding]
    return due


def interval_ms(point: Point) -> int:
    """Return how often a point is to be read, in milliseconds."""
    return max(1, round(point.every_s * 1000))


def _with_neighbours(block: Block, others: Sequence[Point], limits: Limits) -> Block:
    """Return the block with every other point that one request can carry along."""
    points = list(block.points)
    for other in others:
        grown = plan([*points, other], limits)
        if len(grown) == 1:
            points.append(other)
    [whole] = plan(points, limits)
    return whole
