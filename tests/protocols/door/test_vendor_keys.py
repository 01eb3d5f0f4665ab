"""Keys of other lock systems in a bundle: the vectors, read and written."""

import json
from pathlib import Path
from typing import Any

import pytest

import protocols.vectors
from protocols.door.bundle import Bundle
from protocols.door.vendor_keys import keys_alone, vendor_keys_of
from protocols.errors import InvalidInputError

FOLDER = Path(protocols.vectors.__file__).parent / "door"
TOLD: dict[str, Any] = json.loads((FOLDER / "vendor_keys.json").read_text())


@pytest.mark.requirement("A15")
def test_keys_of_other_systems_are_the_vectors() -> None:
    beside, alone = TOLD["beside_a_grant"], TOLD["alone"]
    assert [each.to_document() for each in vendor_keys_of(beside)] == beside["vendor_keys"]
    ours = {name: value for name, value in beside.items() if name != "vendor_keys"}
    assert Bundle.from_document(beside).to_document() == ours, "who knows nothing of them passes over them"
    assert vendor_keys_of(ours) == ()
    keys = vendor_keys_of(alone)
    assert (
        keys_alone(alone["stay"], keys, not_before_ms=alone["not_before_ms"], not_after_ms=alone["not_after_ms"])
        == alone
    )
    assert [each.is_for_the_desk for each in keys] == TOLD["for_the_desk"]
    afar = TOLD["from_afar"]
    opening, not_opening = vendor_keys_of(afar)
    assert opening.to_document() == afar["vendor_keys"][0]
    assert opening.opens is not None
    assert (opening.opens.grant, opening.opens.doors) == ("ik-0123456789abcdef01234567", (("annex-a1", "a1"),))
    assert not_opening.opens is None
    assert not any(each.code in repr(each) for each in keys if each.code is not None)
    with pytest.raises(InvalidInputError):
        Bundle.from_document(alone)


@pytest.mark.parametrize("case", [pytest.param(each, id=each["name"]) for each in TOLD["refused"]])
def test_what_is_no_key_of_another_system_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="bundle: vendor_keys"):
        vendor_keys_of({**TOLD["alone"], "vendor_keys": case["vendor_keys"]})


@pytest.mark.parametrize("document", [None, [], {}, {"v": 2, "vendor_keys": []}, "bundle"])
def test_what_is_no_bundle_has_none(document: object) -> None:
    with pytest.raises(InvalidInputError, match="not a bundle of version 1"):
        vendor_keys_of(document)
