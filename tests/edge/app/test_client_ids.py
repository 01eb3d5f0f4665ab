"""Every connection of the edge at a broker has a name of its own, however long the names are."""

import string

from hypothesis import given
from hypothesis import strategies as st

from edge.app import client_ids

NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=64)
EDGE = "e-hotel-aurora-at-the-old-harbour-0001"


def test_two_long_names_that_begin_alike_are_two() -> None:
    wings = [client_ids.of_bus(EDGE, f"zigbee-{wing}") for wing in ("north-wing", "north-wing-attic", "south")]
    every = [*wings, client_ids.of_part(EDGE, client_ids.HOME_ASSISTANT), client_ids.of_part(EDGE, "sparkplug")]
    assert len(set(every)) == len(every)
    assert client_ids.of_bus("e-1", "zigbee") == "e-1-zigbee", "what fits stays as it was"


@given(edge=NAMES, names=st.sets(NAMES | st.sampled_from(["ha", "sparkplug", "json"]), max_size=8))
def test_no_two_are_one_and_all_fit(edge: str, names: set[str]) -> None:
    ours = [client_ids.of_part(edge, part) for part in ("ha", "sparkplug", "json")]
    every = [*ours, *(client_ids.of_bus(edge, name) for name in names - {"bus-ha", "bus-sparkplug", "bus-json"})]
    assert len(set(every)) == len(every)
    assert all(len(each) <= client_ids.CHARACTERS_MAX for each in every)
