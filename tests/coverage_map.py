"""Print which tests hold which guarantee and requirement: `python -m tests.coverage_map`.

Markdown on standard output: a table of guarantees, a table of requirements that have tests, and the ids that
have none. Ends with 1 if a test names an id that docs/ids.toml does not have, or cannot be collected.
"""

import contextlib
import io
import sys
from collections import defaultdict
from collections.abc import Mapping

import pytest

from tests.ids import named_by, read_ids


class _Collector:
    """A pytest plugin that notes which test names which id."""

    def __init__(self) -> None:
        self.tests: dict[str, list[str]] = defaultdict(list)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            name = item.nodeid.partition("[")[0]  # one line for all parameters of a test
            for each in (*named_by(item, "guarantee"), *named_by(item, "requirement")):
                if name not in self.tests[each]:
                    self.tests[each].append(name)


def collect() -> tuple[int, str, dict[str, list[str]]]:
    """Collect all tests without running them; return pytest's exit code, its words and id -> tests."""
    collector, said = _Collector(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main(["--collect-only", "-q", "-p", "no:randomly"], [collector])
    return int(code), said.getvalue(), dict(collector.tests)


def table(title: str, ids: Mapping[str, str], tests: Mapping[str, list[str]], *, all_rows: bool) -> str:
    """Return a markdown table id | line | tests; rows without tests only if `all_rows`."""
    lines = [f"## {title}", "", "| id | claim | tests |", "|---|---|---|"]
    for each, line in ids.items():
        if names := sorted(tests.get(each, [])):
            lines.append(f"| {each} | {line} | {'<br>'.join(f'`{name}`' for name in names)} |")
        elif all_rows:
            lines.append(f"| {each} | {line} | none |")
    return "\n".join(lines)


def without(ids: Mapping[str, str], tests: Mapping[str, list[str]]) -> str:
    """Return the ids that no test names, by their letters: `ACC: 03 04 05`."""
    families: dict[str, list[str]] = defaultdict(list)
    for each in ids:
        if not tests.get(each):
            family = each.rstrip("0123456789").rstrip("-")
            families[family].append(each.removeprefix(family).removeprefix("-"))
    return "\n".join(f"- {family}: {' '.join(numbers)}" for family, numbers in families.items()) or "- none"


def main() -> int:
    """Print the map; return the exit code."""
    ids = read_ids()
    code, said, tests = collect()
    if code != 0:
        sys.stderr.write(said)
        return 1
    held = [sum(1 for each in group if tests.get(each)) for group in (ids.guarantees, ids.requirements)]
    sys.stdout.write(
        "\n\n".join(
            [
                "# Who holds what",
                f"{held[0]} of {len(ids.guarantees)} guarantees and {held[1]} of {len(ids.requirements)} "
                "requirements are named by at least one test.",
                table("Guarantees", ids.guarantees, tests, all_rows=True),
                table("Requirements", ids.requirements, tests, all_rows=False),
                "## Named by no test",
                without(ids.guarantees | ids.requirements, tests),
            ]
        )
        + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
