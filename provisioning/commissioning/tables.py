"""What the edge told, as tables and sentences for a terminal."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

RESULTS: Final = {True: "[green]yes[/]", False: "[red]no[/]", None: "[yellow]unknown[/]"}
STATES: Final = {
    "online": "green",
    "offline": "red",
    "quarantined": "red",
    "unknown_device": "yellow",
    "never_heard": "dim",
}


def devices_table(devices: Iterable[Mapping[str, Any]]) -> Table:
    """Return the planned devices, one a line."""
    table = _table("Device", "Room", "Model", "Bus", "State", "Since", "Version")
    for each in devices:
        state = str(each.get("state", ""))
        shown = f"[{STATES.get(state, 'default')}]{escape(state)}[/]"
        if each.get("conflict"):
            shown += " [red]contradicts the site plan[/]"
        table.add_row(
            *(_cell(each.get(key)) for key in ("id", "room", "descriptor", "bus")),
            shown,
            when(each.get("since_ms")),
            _cell(each.get("version")),
        )
    return table


def found_table(found: Iterable[Mapping[str, Any]]) -> Table:
    """Return what was found, one a line."""
    table = _table("Found as", "Bus", "Address", "Likely model", "Where it may belong", "Since")
    for each in found:
        candidates, proposals = each["candidates"], each["proposals"]
        table.add_row(
            _cell(each["id"]),
            _cell(each["bus"]),
            escape(address_line(each["address"])),
            "\n".join(f"{escape(one['descriptor'])} ({one['confidence']:.0%})" for one in candidates[:3])
            or "[dim]?[/]",
            "\n".join(escape(proposal_line(one)) for one in proposals[:2]) or "[dim]nothing speaks for a room[/]",
            when(each["since_ms"]),
        )
    return table


def proposals_table(found: Iterable[Mapping[str, Any]]) -> Table:
    """Return every proposal with its reasons."""
    table = _table("Found as", "Proposal", "Confidence", "Because")
    for each in found:
        for one in each["proposals"]:
            table.add_row(
                _cell(each["id"]),
                escape(proposal_line(one)),
                f"{one['confidence']:.0%}",
                "\n".join(escape(reason) for reason in one["reasons"]),
            )
    return table


def facts_table(facts: Iterable[Mapping[str, Any]]) -> Table:
    """Return a device's history, oldest first."""
    table = _table("When", "Who", "What", "Where", "Why")
    for each in facts:
        what = each["act"]
        if (test := each.get("test")) is not None:
            what = f"{test['way']}: {RESULTS[test['result']]}"
        place = each.get("place")
        where = "" if place is None else f"{place['room']}: {place['descriptor']} {address_line(place['address'])}"
        why = each.get("why") or (test or {}).get("detail", "")
        table.add_row(when(each["at_ms"]), _cell(each["by"]), what, escape(where), escape(why))
    return table


def address_line(address: Mapping[str, Any] | None) -> str:
    """Return an address in one line: `zigbee friendly_name=lamp`."""
    if address is None:
        return "no address"
    return " ".join([str(address["bus"]), *(f"{key}={value}" for key, value in address.items() if key != "bus")])


def proposal_line(proposal: Mapping[str, Any]) -> str:
    """Return a proposal in one line."""
    if proposal["act"] == "swap":
        return f"room {proposal['room']}: in place of {proposal['device']}"
    return f"room {proposal['room']}: as {proposal['device']}"


def when(at_ms: object) -> str:
    """Return a moment in UTC to the second; a dash for none."""
    if not isinstance(at_ms, int):
        return "-"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for each in heads:
        table.add_column(each, overflow="fold", no_wrap=each in ("Since", "When", "Version", "State"))
    return table


def _cell(value: object) -> str:
    return "-" if value is None else escape(str(value))
