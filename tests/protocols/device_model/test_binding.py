"""Bindings as the vectors have them."""

import json
from pathlib import Path
from typing import Any

import pytest

from protocols import cbor
from protocols.device_model import binding
from protocols.errors import InvalidInputError

VECTORS = json.loads(
    (Path(binding.__file__).parents[1] / "vectors" / "device_model" / "bindings.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("body", VECTORS["good"], ids=lambda body: f"{body['act']}-{body['n']}")
def test_a_fact_is_read_and_written_alike_and_fits_a_record(body: dict[str, Any]) -> None:
    fact = binding.from_body(body)
    assert fact.to_body() == body
    assert cbor.decode(cbor.encode(fact.to_body()), 8192) == body


@pytest.mark.parametrize("wrong", VECTORS["bad"], ids=lambda wrong: str(wrong["names"]))
def test_a_wrong_fact_is_refused_by_the_name_of_what_is_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        binding.from_body(wrong["body"])
    told = str(refused.value)
    assert wrong["names"].rpartition(".")[2] in told, told
