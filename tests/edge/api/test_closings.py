"""What is told of keys that were taken away: also of those that the common doors still take."""

from typing import Any

import pytest

from edge.api.closing_routes import shown

pytestmark = [pytest.mark.requirement("P9"), pytest.mark.guarantee("G4", "G17")]


def test_keys_that_found_no_place_on_the_list_are_counted_and_told_until_when() -> None:
    quiet: dict[str, Any] = {"signed": True, "withdrawn": [["aa", 5]], "issuers": [], "doors": []}
    assert (shown(quiet)["unlisted"], shown(quiet)["unlisted_until_ms"]) == (0, None)
    crowded = shown({**quiet, "unlisted": [["bb", 7], ["cc", 9]]})
    assert (crowded["unlisted"], crowded["unlisted_until_ms"]) == (2, 9)
