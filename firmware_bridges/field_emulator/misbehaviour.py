"""What goes wrong in the field, as probabilities: on by default, seeded, and each with a knob to turn it off.

Every knob is a probability in 0..1 for one chance of the thing it is named for, or a range in milliseconds.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from kit.dice import Dice
from protocols.errors import InvalidInputError

_Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=600_000)]


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the emulator misbehaves; the defaults are a bad but plausible day.

    Modbus: `answer_ms_most` (an ordinary answer takes 0 to so many ms), `late` (it takes `late_ms_least` to
    `late_ms_most`), `silent` (no answer, the request was not carried out), `forgetful` (a write is carried out and not
    answered), `busy` (exception 6), `twice` (the answer comes twice), `torn` (the answer comes in two pieces),
    `hang_up` (the connection ends), on serial lines `noise` (bytes that nobody asked for precede an answer) and
    `garbled` (a bit of it is wrong), `refuse_band` (a setpoint outside the device's own band is refused).
    MQTT: `duplicate`, `reorder` (a message is held back until after the next), `garbage` (a torn payload precedes a
    message), `radio_loss` (a command does not reach the device). OPC UA: `bad_status` (a node goes bad for a while).
    Sensors that seal their adverts, one more advert each: `replayed` (one of the last is heard again), `tampered` (one
    bit is wrong), and a stranger's who lies: `foreign_key`, `rolled_back` (an older number, under the sensor's own
    key) and `unsealed` (in the clear).
    """

    answer_ms_most: _Ms = 8
    late: _Chance = 0.01
    late_ms_least: _Ms = 200
    late_ms_most: _Ms = 900
    silent: _Chance = 0.004
    forgetful: _Chance = 0.01
    busy: _Chance = 0.01
    twice: _Chance = 0.005
    torn: _Chance = 0.05
    hang_up: _Chance = 0.0005
    noise: _Chance = 0.02
    garbled: _Chance = 0.01
    duplicate: _Chance = 0.05
    reorder: _Chance = 0.03
    garbage: _Chance = 0.005
    radio_loss: _Chance = 0.01
    bad_status: _Chance = 0.01
    replayed: _Chance = 0.05
    tampered: _Chance = 0.01
    foreign_key: _Chance = 0.005
    rolled_back: _Chance = 0.005
    unsealed: _Chance = 0.005


GOOD = Knobs(
    answer_ms_most=0, late=0, silent=0, forgetful=0, busy=0, twice=0, torn=0, hang_up=0, noise=0, garbled=0,
    duplicate=0, reorder=0, garbage=0, radio_loss=0, bad_status=0,
    replayed=0, tampered=0, foreign_key=0, rolled_back=0, unsealed=0,
)  # fmt: skip
"""Everything works."""


class Misbehaviour:
    """The knobs in force, and the dice that they are for."""

    def __init__(self, knobs: Knobs, dice: Dice) -> None:
        self.knobs, self._dice = knobs, dice

    def turn(self, changes: Mapping[str, Any]) -> None:
        """Turn some knobs.

        Raises:
            InvalidInputError: there is no such knob, or it does not go so far.
        """
        try:
            self.knobs = msgspec.convert({**msgspec.to_builtins(self.knobs), **changes}, Knobs)
        except msgspec.ValidationError as error:
            raise InvalidInputError("misbehave", str(error)) from error

    def happens(self, chance: float) -> bool:
        """Throw the dice for one chance."""
        return chance > 0 and self._dice.uniform(0, 1) < chance

    def answer_delay_ms(self) -> float:
        """How long one Modbus answer takes."""
        if self.happens(self.knobs.late):
            low, high = sorted((self.knobs.late_ms_least, self.knobs.late_ms_most))
            return self._dice.uniform(low, high)
        return self._dice.uniform(0, self.knobs.answer_ms_most) if self.knobs.answer_ms_most else 0.0

    def between(self, low: float, high: float) -> float:
        """Return a number in a range."""
        return self._dice.uniform(low, high)
