"""A list in parts as a build beside this one finds it in the store: one that knows no parts, one that wrote them whole.

The file has the same version for all three (store_schema.py), so a process of any of them may be started on it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.grant.keys import IssuerClass
from protocols.grant.revocation import REVOCATIONS_MOST, Revocations, sign_object
from tests.edge.doors.building import Building
from tests.edge.doors.test_early_departure import confirmed, group, refused

pytestmark = [pytest.mark.requirement("P9"), pytest.mark.guarantee("G4", "G18")]
PARTY = 40


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def kept(building: Building) -> tuple[int, dict[str, list[list[object]]]]:
    [(seq, body)] = building.store.read("SELECT seq, body FROM common_list")
    return seq, json.loads(body)


def rewritten(building: Building, body: dict[str, list[list[object]]], **columns: bytes | None) -> None:
    with building.store.written() as db:
        db.execute("UPDATE common_list SET body = ?", (json.dumps(body),))
        for name, value in columns.items():
            db.execute(f"UPDATE common_list SET {name} = ?", (value,))  # noqa: S608 - a name of this test


async def test_a_build_that_knows_no_parts_finds_a_list_that_it_can_sign(building: Building) -> None:
    """It reads `grants` and `issuers`, signs those under the row's number, and writes them back without the rest."""
    party = group(building, PARTY)
    whole = building.closing.lists.common
    assert len(whole.grants) == PARTY
    seq, body = kept(building)
    grants = tuple((bytes.fromhex(str(named)), int(str(until_s))) for named, until_s in body["grants"])
    assert grants == whole.grants[:REVOCATIONS_MOST]
    at_s = building.clock.wall_ms() // 1_000
    issuer = building.issuers.current(IssuerClass.REVOCATION, at_s)
    signed = sign_object(Revocations(seq, grants), issuer.key, at_s)
    rewritten(
        building, {"grants": body["grants"], "issuers": []}, signed=signed, certificate=issuer.certificate.encoded
    )
    building.restart()
    building.closing.settle()
    assert building.closing.lists.common.seq > seq, "what was left out is missed, and numbered above what it signed"
    assert dict(building.closing.lists.common.grants) == dict(whole.grants)
    assert not confirmed(building)["pool"]
    await building.visit("pool")
    assert confirmed(building)["pool"]
    assert refused(building, party) == PARTY


async def test_what_a_build_wrote_that_kept_all_grants_together_is_read_as_it_was(building: Building) -> None:
    party = group(building, PARTY)
    whole = building.closing.lists.common
    _, body = kept(building)
    further = body.pop("further")
    assert len(further) == PARTY - REVOCATIONS_MOST
    body["grants"] += further
    rewritten(building, body)
    building.restart()
    assert building.closing.lists.common == whole
    await building.visit("pool")
    assert confirmed(building)["pool"]
    assert refused(building, party) == PARTY


async def test_a_build_that_reads_the_parts_and_the_first_grants_alone_makes_the_list_anew(building: Building) -> None:
    """The one between: to it some of who left are not named yet."""
    party = group(building, PARTY)
    whole = building.closing.lists.common
    _, body = kept(building)
    del body["further"]
    rewritten(building, body)
    building.restart()
    building.closing.settle()
    assert building.closing.lists.common.seq > whole.seq
    await building.visit("pool")
    assert confirmed(building)["pool"]
    assert refused(building, party) == PARTY
