"""docs/aliro.md names every field a grant has: a new one has to say what becomes of it."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from protocols.grant.grant import Grant

PAGE = Path(__file__).parents[3] / "docs" / "aliro.md"


@pytest.mark.requirement("P22")
def test_every_field_of_a_grant_has_its_place_in_an_access_document() -> None:
    section = PAGE.read_text().split("## What a grant says")[1].split("\n## ")[0]
    told = [found[1] for found in re.finditer(r"^\| ([a-z_]+) \|", section, re.MULTILINE)]
    assert told == [each.name for each in fields(Grant)]
