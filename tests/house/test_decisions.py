"""Decisions: numbered once, whole, and present wherever something refers to them."""

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.house.sources import ROOT, place, text_files

FOLDER: Final = ROOT / "docs" / "decisions"
PAGES: Final = sorted(FOLDER.glob("*.md"))
NAME: Final = re.compile(r"(\d{4})-[a-z0-9]+(?:-[a-z0-9]+)*\.md")
REFERENCE: Final = re.compile(r"docs/decisions/(\d{4}-[a-z0-9-]+\.md)")
PARTS: Final = ("context", "decision", "consequences", "alternatives", "check")


def test_names_are_numbers_and_words_and_no_number_is_used_twice() -> None:
    names = [page.name for page in PAGES if page.name != "README.md"]
    assert names
    assert [name for name in names if not NAME.fullmatch(name)] == []
    assert [number for number, count in Counter(name[:4] for name in names).items() if count > 1] == []


@pytest.mark.parametrize("page", [each for each in PAGES if each.name != "README.md"], ids=lambda page: page.stem)
def test_a_page_has_its_five_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8").lower()
    assert text.startswith("# ")
    missing = [part for part in PARTS if not re.search(rf"(?m)^(?:#+ |\*\*)?(?:the )?{part}", text)]
    assert missing == []


def test_every_page_that_is_referred_to_exists() -> None:
    missing = [
        f"{place(path)}: {name}"
        for path in text_files()
        for name in REFERENCE.findall(path.read_text(encoding="utf-8"))
        if not (FOLDER / name).is_file()
    ]
    assert missing == []
