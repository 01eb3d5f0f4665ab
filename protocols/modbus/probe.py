"""Who answers on a Modbus unit id: device identification, SunSpec, and the identification registers of what we know.

Source of truth: SPEC.md section 8. Pure: asks through the function that it is given; reads only.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from protocols.descriptors.descriptor import Descriptor, Table
from protocols.descriptors.wires import ModbusWire
from protocols.device_model.probe import Candidate, Found, by_name, likeliest, plain
from protocols.modbus.frames import Read, Refused, Reply, Request, Words
from protocols.modbus.identification import (
    BASIC,
    PRODUCT_CODE,
    REGULAR,
    REVISION,
    VENDOR_NAME,
    Identification,
    Identify,
)

Ask = Callable[[Request], Awaitable[Reply | None]]
"""Puts one question to the unit; None if no answer came in time, or none that can be read."""

SILENCES_MAX: Final = 3
PARTS_MAX: Final = 8
OBJECTS_MAX: Final = 60
SUNSPEC_PLACES: Final = (40_000, 50_000, 0)
SUNSPEC_MARKER: Final = (0x5375, 0x6E53)
SUNSPEC_MODELS_MAX: Final = 32
SUNSPEC_END: Final = 0xFFFF
_COMMON_WORDS: Final = 66
_MODEL_NAME, _PRODUCT_NAME = 5, 4
_GATEWAY_SILENT: Final = frozenset((10, 11))
"""Exceptions of a gateway: nobody is behind this unit id."""


class _Silent(Exception):  # noqa: N818 - never leaves this module: the probe is over, whatever was found
    pass


class _Asker:
    """Counts answers and silences; ends a probe that nobody answers."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.answers = self._silences = 0

    async def __call__(self, request: Request) -> Reply | None:
        reply = await self._ask(request)
        if reply is None or (isinstance(reply, Refused) and reply.code in _GATEWAY_SILENT):
            self._silences += 1
            if self._silences >= SILENCES_MAX:
                raise _Silent
            return None
        self._silences = 0
        self.answers += 1
        return reply

    async def words(self, table: Table, start: int, count: int) -> tuple[int, ...] | None:
        reply = await self(Read(table, start, count))
        return reply.words if isinstance(reply, Words) and len(reply.words) == count else None


async def probe_unit(ask: Ask, descriptors: Iterable[Descriptor]) -> Found | None:
    """Ask one unit who it is; None if nobody answers. Never writes, and never raises for what a unit answers.

    Evidence: `vendor`, `model`, `firmware`, `serial` where it says so itself; `identification` (the objects' number);
    `sunspec` (where the marker is) and `sunspec_models` (their numbers); `answers`.
    """
    known = [each for each in descriptors if isinstance(each.wire, ModbusWire)]
    asker = _Asker(ask)
    evidence: dict[str, str | int | float | bool | None] = {}
    candidates: list[Candidate] = []
    try:
        _note_objects(await _objects(asker), evidence)
        await _sunspec(asker, evidence)
        candidates += await _by_registers(asker, known)
    except _Silent:
        pass  # what was found stands
    if not asker.answers:
        return None
    vendor, model = str(evidence.get("vendor", "")), str(evidence.get("model", ""))
    candidates += by_name(((each.id, each.identity.vendor, each.identity.model) for each in known), vendor, model)
    code = str(evidence.get("product_code", ""))
    if code != model:
        candidates += by_name(((each.id, each.identity.vendor, each.identity.model) for each in known), vendor, code)
    return Found({**evidence, "answers": asker.answers}, likeliest(candidates))


async def _objects(asker: _Asker) -> Mapping[int, bytes]:
    """Return what function 43/14 tells; empty if the unit does not speak it, or makes no sense."""
    objects: dict[int, bytes] = {}
    read_code, first, conformity = BASIC, 0, 0
    for _ in range(PARTS_MAX):
        reply = await asker(Identify(read_code, first))
        if not isinstance(reply, Identification):
            break
        fresh = {each: value for each, value in reply.objects.items() if each not in objects}
        objects |= dict(list(fresh.items())[: OBJECTS_MAX - len(objects)])
        conformity = max(conformity, reply.conformity & 0x7F)
        if reply.more is not None and fresh and reply.more > first:
            first = reply.more
        elif read_code == BASIC and conformity >= REGULAR:
            read_code, first = REGULAR, 3
        else:
            break
    return objects


def _note_objects(objects: Mapping[int, bytes], evidence: dict[str, str | int | float | bool | None]) -> None:
    names = {VENDOR_NAME: "vendor", PRODUCT_CODE: "product_code", REVISION: "firmware", _PRODUCT_NAME: "product"}
    if objects:
        evidence["identification"] = len(objects)
    for number, name in {**names, _MODEL_NAME: "model"}.items():
        if text := plain(objects.get(number, b"").decode("utf-8", "replace")):
            evidence[name] = text
    if "model" not in evidence and "product_code" in evidence:
        evidence["model"] = evidence["product_code"]


async def _sunspec(asker: _Asker, evidence: dict[str, str | int | float | bool | None]) -> None:
    for place in SUNSPEC_PLACES:
        if await asker.words("holding", place, 2) == SUNSPEC_MARKER:
            evidence["sunspec"] = place
            break
    else:
        return
    common = await asker.words("holding", place + 2, _COMMON_WORDS)
    if common is not None and common[0] == 1:
        for name, first, count in (("vendor", 2, 16), ("model", 18, 16), ("firmware", 42, 8), ("serial", 50, 16)):
            if text := plain(_text(common[first : first + count])):
                evidence[name] = text
    models: list[int] = []
    head = place + 2
    while len(models) < SUNSPEC_MODELS_MAX and head + 2 <= 0x1_0000:
        words = await asker.words("holding", head, 2)
        if words is None or words[0] == SUNSPEC_END:
            break
        models.append(words[0])
        head += 2 + words[1]
    evidence["sunspec_models"] = " ".join(map(str, models))


async def _by_registers(asker: _Asker, known: Iterable[Descriptor]) -> list[Candidate]:
    """Read every identification register of every model once, and see whom it fits."""
    read: dict[tuple[Table, int], int | None] = {}
    found: list[Candidate] = []
    for descriptor in known:
        fits: list[bool] = []
        narrow = True
        for each in descriptor.identify:
            if each.table is None or each.register is None:
                continue
            place = (each.table, each.register)
            if place not in read:
                words = await asker.words(*place, 1)
                read[place] = None if words is None else words[0]
            fits.append(read[place] in each.equals)
            narrow = narrow and min((int(value) for value in each.equals), default=0) > 1
            if fits[-1]:
                why = f"{each.table} register {each.register} holds {read[place]}"
        if fits and all(fits):
            # 0 and 1 stand in half of all registers there are: that a register holds one proves little.
            found.append(Candidate(descriptor.id, 0.9 if narrow else 0.4, why))
    return found


def _text(words: tuple[int, ...]) -> str:
    return b"".join(word.to_bytes(2, "big") for word in words).split(b"\0")[0].decode("utf-8", "replace")
