"""Memory: measured per process, and given back without breaking anything."""

import gc
import os

import pytest

from kit.memory import pss_kib, settle


@pytest.mark.guarantee("G9")
def test_the_share_of_this_process_is_plausible() -> None:
    assert 5_000 < pss_kib(os.getpid()) < 4_000_000


def test_no_process_no_figure() -> None:
    with pytest.raises(OSError, match="No such file"):
        pss_kib(2**22 + 1)


def test_settling_takes_what_survives_out_of_the_collectors_way() -> None:
    try:
        settle()
        assert gc.get_freeze_count() > 1_000
    finally:
        gc.unfreeze()
