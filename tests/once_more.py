"""Run pytest; where no more than a few tests failed, run those once more and name what came out different.

`make test` plays thousands of tests beside real programs on a machine it does not have for itself. A test that fails
there and passes alone is unsteady: that is told, aloud and last, and to be mended; a defect fails twice. More than
FEW_MAX failures are never chance, and `make check` and plain pytest never run anything twice.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FEW_MAX: Final = 3
TESTS_FAILED: Final = 1
"""pytest's exit code where tests were run and some failed; others (usage, interrupt, own error) say nothing of tests"""
CACHE: Final = Path("build/once_more")


def failed_in(cache: Path) -> list[str]:
    """Return what failed in the last run of pytest with this cache folder, by node id; none if it tells of none."""
    told = cache / "v/cache/lastfailed"
    return sorted(json.loads(told.read_text(encoding="utf-8"))) if told.is_file() else []


def main(arguments: Sequence[str]) -> int:
    """Run pytest with `arguments`; return its exit code, or the one of the second run where there was one."""
    shutil.rmtree(CACHE, ignore_errors=True)
    command = [sys.executable, "-m", "pytest", *arguments, "-o", f"cache_dir={CACHE}"]
    code = subprocess.run(command, check=False).returncode
    first = failed_in(CACHE)
    if code != TESTS_FAILED or not 0 < len(first) <= FEW_MAX:
        return code
    print(f"\nonce more: {len(first)} failed; run alone now, after what is above\n", flush=True)
    code = subprocess.run([*command, "--last-failed", "--last-failed-no-failures", "none"], check=False).returncode
    again = failed_in(CACHE)
    for each in first:
        print(f"once more: {'FAILED TWICE' if each in again else 'UNSTEADY, to be mended'}: {each}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
