"""Makes the golden vectors (`python -m protocols.vectors.generate`), or proves with --check that nothing changed.

A change here is a change of the protocol: it lands first, with its section of SPEC.md (house style 9).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from protocols.vectors import (
    closing_vectors,
    door_vectors,
    event_id_vectors,
    grant_vectors,
    judgement_vectors,
    link_vectors,
    policy_vectors,
    refusal_vectors,
    remote_open_vectors,
    stays_vectors,
    vendor_key_vectors,
)

FOLDER: Final = Path(__file__).parent
OWNED: Final = ("grant", "door", "link", "policy", "stays")
"""Folders in which every file is generated here: one more or one less is a finding."""


def documents() -> dict[str, str]:
    """Return every vector file's text, by its path under protocols/vectors."""
    made: dict[str, dict[str, Any]] = {
        **grant_vectors.files(), **judgement_vectors.files(), **door_vectors.files(), **vendor_key_vectors.files(),
        **closing_vectors.files(), **refusal_vectors.files(), **remote_open_vectors.files(), **event_id_vectors.files(),
        **link_vectors.files(), **policy_vectors.files(), **stays_vectors.files(),
    }  # fmt: skip
    return {name: json.dumps({"v": 1, **document}, indent=1) + "\n" for name, document in made.items()}


def differences(folder: Path = FOLDER) -> list[str]:
    """Return one line per file that is missing, stale or not ours."""
    made = documents()
    found = [
        f"{name}: {'differs' if (folder / name).exists() else 'is missing'}"
        for name, text in made.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text
    ]
    there = {str(path.relative_to(folder)) for part in OWNED for path in (folder / part).glob("*.json")}
    return found + [f"{name}: is not generated" for name in sorted(there - set(made))]


def main() -> int:
    """Write the files, or with --check compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    if parser.parse_args().check:
        found = differences()
        sys.stdout.write("".join(f"{line}\n" for line in found))
        return 1 if found else 0
    for name, text in documents().items():
        path = FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
