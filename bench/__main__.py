"""Run benchmarks: `python -m bench` for all, `python -m bench doors` for one. Writes build/bench/<name>.json.

Exit status 0 when everything could be measured; a bar that does not hold is printed and recorded, not hidden behind
an exit status, because a busy machine must not look like a broken product. `--strict` turns it into status 1.
"""

import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

from bench.rows import Row

NAMES = ("ground", "record_path", "fan_in", "doors", "doors_channel", "doors_sure", "devices", "stays", "rooms", "api")
FOLDER = Path(__file__).resolve().parents[1] / "build" / "bench"


def _print(rows: list[Row]) -> None:
    for each in rows:
        verdict = {True: "holds", False: "FALLS SHORT", None: ""}[each["holds"]]
        ratio = f"{each['ratio']:.2f} x {each['ratio_to']}" if each["ratio"] is not None else ""
        print(
            f"  {each['name']:<68} {each['median']:>12,.2f} {each['unit']:<9}"
            f" [{each['min']:,.2f} .. {each['max']:,.2f}]  {ratio}  {each['bar'] or ''}  {verdict}"
        )


def main(argv: list[str]) -> int:
    """Measure what `argv` names, or everything."""
    strict = "--strict" in argv
    names = [name for name in argv if name != "--strict"] or list(NAMES)
    if unknown := [name for name in names if name not in NAMES]:
        print(f"bench: there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    short = 0
    for name in names:
        print(
            f"{name} ({platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})", flush=True
        )
        began = time.monotonic()
        rows: list[Row] = importlib.import_module(f"bench.{name}").rows()
        (FOLDER / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n")
        _print(rows)
        print(f"  ({time.monotonic() - began:.0f} s; build/bench/{name}.json)", flush=True)
        short += sum(1 for each in rows if each["holds"] is False)
    return 1 if strict and short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
