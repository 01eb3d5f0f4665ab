"""Power cuts: the real store on a disk that loses whatever was not synced, in every way a disk may.

INNKEEPER_LOG_CUTS sets how many cuts there are (a nightly run: 10000). A seed that ever failed is added by number, and
stays.
"""

import os

import pytest

from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane
from tests.seeds import THOROUGH
from tests.simulation.log.crash_disk import CrashDisk
from tests.simulation.log.history import History

CUTS_A_SEED = 20
CUTS = "400" if THOROUGH else "120"
FAILED_ONCE = (21, 28, 30, 43, 52, 55, 72, 97, 192, 203, 217, 253, 305)
SEEDS = sorted({*range(max(1, int(os.environ.get("INNKEEPER_LOG_CUTS", CUTS)) // CUTS_A_SEED)), *FAILED_ONCE})


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("seed", SEEDS)
def test_no_power_cut_costs_what_was_acknowledged_or_leaves_half_of_anything(seed: int) -> None:
    with CrashDisk(seed) as disk:
        history = History(seed, disk, lane=Lane.A if seed % 2 else Lane.B)
        history.run(CUTS_A_SEED)
        assert history.commits > CUTS_A_SEED


@pytest.mark.guarantee("G1")
def test_the_tool_sees_a_store_that_acknowledges_before_it_is_synced() -> None:
    lost = 0
    for seed in range(20):
        with CrashDisk(seed) as disk:
            try:
                History(seed, disk, synchronous="NORMAL").run(CUTS_A_SEED)
            except AssertionError:
                lost += 1
    assert lost >= 15


@pytest.mark.guarantee("G1")
def test_what_a_failed_sync_left_in_the_cache_is_not_built_upon() -> None:
    for seed in range(30):
        with CrashDisk(seed) as disk:
            history = History(seed, disk)
            store = history.open()
            store.append_encoded(history._records(5))
            disk.fail_a_sync_in(1)
            with pytest.raises(StoreFailedError):
                store.append_encoded(history._records(5))
            store.abandon()
            again = history.open(store)
            assert again.last == 5
            kept = history._records(3)
            assert again.append_encoded(kept) == 8
            disk.dead = True
            again.abandon()
            disk.power_on()
            after = history.open()
            assert [data for _, data in after.read(5, 10)] == kept
            after.verify_chain()
            after.abandon()
