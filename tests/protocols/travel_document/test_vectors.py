"""The zone reader against the vectors: the specimens of ICAO Doc 9303, and what is wrong with others."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from protocols.errors import InvalidInputError
from protocols.travel_document.zone import Zone, read

VECTORS = json.loads(
    (Path(__file__).parents[3] / "protocols" / "vectors" / "travel_document" / "zones.json").read_text(encoding="utf-8")
)


def _as_json(zone: Zone) -> dict[str, Any]:
    birth = zone.birth
    return {
        "format": zone.format.value,
        "document_code": zone.document_code,
        "issuing_state": zone.issuing_state,
        "surname": zone.surname,
        "given_names": zone.given_names,
        "name_truncated": zone.name_truncated,
        "document_number": zone.document_number,
        "nationality": zone.nationality,
        "birth": None if birth is None else [birth.year, birth.month, birth.day],
        "sex": None if zone.sex is None else zone.sex.value,
        "expiry": None if zone.expiry is None else zone.expiry.isoformat(),
        "optional": zone.optional,
        "optional_2": zone.optional_2,
        "findings": [[each.fault.value, each.field.value, each.line, each.first, each.last] for each in zone.findings],
    }


@pytest.mark.requirement("GST-02")
@pytest.mark.parametrize("case", VECTORS["zones"], ids=lambda case: case["name"])
def test_a_zone_says_what_the_vector_says(case: dict[str, Any]) -> None:
    zone = read("\n".join(case["lines"]), today=date.fromisoformat(case["today"]))
    assert _as_json(zone) == case["want"]
    assert zone.holds is (case["want"]["findings"] == [])
    assert zone.specimen


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["name"])
def test_what_is_no_zone_is_refused_by_its_place(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read(case["text"], today=date(2026, 11, 21))
    assert refused.value.place == case["place"]
