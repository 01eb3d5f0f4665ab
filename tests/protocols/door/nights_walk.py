"""The model of test_nights, walked by dice alone: as many steps as somebody has time for, without hypothesis' care.

Signatures are verified once each and remembered: the walk asks the lock's rules, and the vectors ask the signatures.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, cast
from unittest.mock import patch

from protocols.door import identity, lock_core
from protocols.grant.certificate import open_certificate
from protocols.grant.grant import Grant, open_grant
from protocols.grant.keys import public_key
from tests.protocols.door.test_nights import HOUR_S, Nights, Stay

EPISODE_STEPS = 400
"""Then another lock, another drift: an hour a step on the average is more than two weeks."""
STAYS_KNOWN = 10


@dataclass
class Walked:
    """What a walk did. `wrong`: where the lock and the model parted, by episode's seed and what was wrong."""

    steps: int = 0
    opened: int = 0
    refused: int = 0
    wrong: tuple[str, ...] = ()


class _Drawn:
    """Stands in for hypothesis' data: draws from a list of what a rule offers."""

    def __init__(self, random: Random, offered: list[Any]) -> None:
        self._random, self._offered = random, offered

    def draw(self, _strategy: object) -> Any:
        return self._random.choice(self._offered)


@contextmanager
def verified_once() -> Iterator[None]:
    """Remember what was verified, by its bytes and its key."""
    certificates: dict[bytes, Any] = {}
    grants: dict[tuple[bytes, bytes], Grant] = {}

    def certificate_once(encoded: bytes, keys: Any) -> Any:
        if encoded not in certificates:
            certificates[encoded] = open_certificate(encoded, keys)
        return certificates[encoded]

    def grant_once(signed: bytes, issuer: Any) -> Grant:
        key = signed, issuer.encoded
        if key not in grants:
            if len(grants) > 1_000:
                grants.clear()
                certificates.clear()
            grants[key] = open_grant(signed, issuer)
        return grants[key]

    with (
        patch.object(lock_core, "open_certificate", certificate_once),
        patch.object(lock_core, "open_grant", grant_once),
        patch.object(identity, "public_key", cache(public_key)),
    ):
        yield


def walk(seed: int, steps: int) -> Walked:
    """Walk at least `steps` steps, in episodes; a wrong step ends its episode and is told, not raised."""
    walked = Walked()
    episode = 0
    with verified_once():
        while walked.steps < steps:
            random = Random(f"{seed} {episode}")
            try:
                _episode(random, walked)
            except AssertionError as error:
                walked.wrong = (*walked.wrong, f"episode {seed} {episode}: {error}")
            episode += 1
    return walked


def _episode(random: Random, walked: Walked) -> None:
    nights = Nights()
    nights.build(random.randint(-200, 200))
    stays: list[Stay] = []
    often = {"present": 60, "wait": 16, "check_in": 8, "check_out": 4, "bump": 4, "renew": 3, "privacy": 2, "time": 2}
    rules, weights = [*often, "power", "lost"], [*often.values(), 1, 2 * (random.random() < 0.5)]
    for _ in range(EPISODE_STEPS):
        [rule] = random.choices(rules, weights)
        walked.steps += 1
        if rule == "check_in" or not stays:
            checked_in = nights.check_in(random.choice([0, 0, 0, 5, 24, 48]), random.randint(1, 3))
            stays = [*stays, cast(Stay, checked_in)][-STAYS_KNOWN:]
        elif rule == "present":
            before = nights.core.audit_seq
            nights.present(stays[-1] if random.random() < 0.5 else random.choice(stays))
            refused = nights.core.records[-1].status >= 0x10 and nights.core.audit_seq > before
            walked.refused += refused
            walked.opened += not refused
        elif rule == "renew":
            stays = [*stays, cast(Stay, nights.renew(random.choice(stays)))][-STAYS_KNOWN:]
        elif rule == "check_out":
            nights.check_out(random.choice(stays))
        elif rule == "bump" and nights.bumps:
            nights.a_bump_arrives_perhaps_late_or_twice(_Drawn(random, nights.bumps[-STAYS_KNOWN:]))
        elif rule == "privacy":
            nights.privacy_knob()
            if nights.privacy and random.random() < 0.7:  # most take it off again soon
                nights.privacy_knob()
        elif rule == "time":
            nights.the_edge_answers_with_the_time()
        elif rule == "power":
            nights.power_goes_between_two_writes()
        elif rule == "wait":
            nights.wait(random.choice([30, 300, 300, HOUR_S, 7 * HOUR_S, 24 * HOUR_S]))
        elif rule == "lost":
            nights.the_clock_is_lost(random.choice([0, 1, 30, 80]))
        nights.the_lock_and_the_model_agree()
