"""No table grows for ever by accident: each is bounded by what it is of, or names who lets its rows go, or is kept.

A table that is new stands nowhere here, and the check fails until somebody has said which it is. What stands as kept
grows with the years on purpose: its reason says why, and for a house of 300 rooms by how much.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.house.sources import ROOT, place, python_files

MADE: Final = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\{?[A-Za-z_][A-Za-z_0-9.]*\}?)")
WORDS_LEAST: Final = 4


@dataclass(frozen=True)
class Bounded:
    """Its rows are as many as something else that does not grow with time."""

    why: str


@dataclass(frozen=True)
class Kept:
    """It grows, on purpose."""

    why: str


@dataclass(frozen=True)
class LetGo:
    """`by`, a file, deletes from it; `said` is how, where that is not DELETE FROM and its name."""

    by: str
    said: str = ""


Fate = Bounded | Kept | LetGo
ACCOUNTS: Final = Bounded("as many as the people and programs that a tenant lets in")
PROPERTIES: Final = Bounded("one row a property, or one for each room, door or code of it")
STAYS: Final = Kept("of a stay, which is the business itself: some 40,000 a year, a few hundred bytes each")

CLOUD: Final[dict[str, Fate]] = {
    "access.emergency_approval": Kept("who approved which emergency key, for auditors; a few a year"),
    "access.emergency_draft": Kept("which emergency keys were made and why, for auditors; a few a year"),
    "access.event": LetGo("cloud/access/keeping.py"),
    "access.lock": PROPERTIES,
    "access.seen_grant": Kept("one short row a key that opened something: 100,000 a year, 15 MB with its index"),
    "alerts.alert": Kept("what a building raised and when it cleared: some tens a day, 5 MB a year"),
    "checkin.departure": STAYS,
    "checkin.guest": LetGo("cloud/checkin/session_rows.py"),
    "checkin.guest_link": STAYS,
    "checkin.kiosk": PROPERTIES,
    "checkin.late_wish": Kept("what a guest asked for and who answered, of a stay: fewer than stays"),
    "checkin.letter": LetGo("cloud/checkin/letter_keeping.py"),
    "checkin.letter_rate": Bounded("what an operator wrote down by hand: one row a tenant at most"),
    "checkin.session": STAYS,
    "checkin.step": STAYS,
    "checkin.terms": Kept("the terms that guests accepted, append only; one row each time a house changes them"),
    "fleet.command": LetGo("cloud/fleet/keeping.py"),
    "fleet.edge": PROPERTIES,
    "guests.booking": LetGo("cloud/guests/keeping.py"),
    "guests.directory": Bounded("what an operator wrote down by hand: one row a property and PMS at most"),
    "guests.profile": LetGo("cloud/guests/keeping.py"),
    "outbox.event": LetGo("cloud/kit/outbox_keeping.py"),
    "payments.movement": Kept("accounts of money, which the law keeps; a few for each stay that pays"),
    "payments.payment": Kept("accounts of money, which the law keeps; one for each stay that pays"),
    "payments.refund_rule": LetGo("cloud/payments/refund_rules.py"),
    "platform.account": ACCOUNTS,
    "platform.api_client": ACCOUNTS,
    "platform.attempt_bucket": LetGo("cloud/platform/attempts.py"),
    "platform.audit": Kept("a chain in which each entry proves those before it: what people did, some hundreds a day"),
    "platform.audit_head": Bounded("one row a tenant: the end of its chain"),
    "platform.challenge": LetGo("cloud/platform/passkeys.py"),
    "platform.company": LetGo("cloud/platform/companies.py"),
    "platform.company_attempt": LetGo("cloud/platform/companies.py"),
    "platform.company_identity": LetGo("cloud/platform/companies.py"),
    "platform.passkey": LetGo("cloud/platform/passkeys.py"),
    "platform.password": ACCOUNTS,
    "platform.property": PROPERTIES,
    "platform.rate_rule": Bounded("what an operator wrote down by hand"),
    "platform.recovery": LetGo("cloud/platform/recovery.py"),
    "platform.session": LetGo("cloud/platform/principals.py"),
    "platform.sign_in": LetGo("cloud/platform/sign_in.py"),
    "platform.tenant": ACCOUNTS,
    "platform.token": LetGo("cloud/platform/sign_in.py"),
    "pms.connection": PROPERTIES,
    "pms.drift": LetGo("cloud/pms/drift.py"),
    "pms.guest_of": STAYS,
    "pms.hint": LetGo("cloud/pms/hints.py"),
    "pms.issue": LetGo("cloud/pms/issues.py", "DELETE FROM pms.issue"),
    "pms.room_map": PROPERTIES,
    "pms.sync_run": LetGo("cloud/pms/run_keeping.py"),
    "pms.write_intent": Kept("what a PMS was asked to write for a stay: two or three a stay, 40 MB a year"),
    "policy.release": Kept("each version of a policy that somebody made by hand, with who and when"),
    "policy.wanted": PROPERTIES,
    "privacy.data_key": Kept("keys under which data is sealed, which cannot be read without; some a tenant"),
    "stays.document": PROPERTIES,
    "stays.reservation": STAYS,
    "stays.room": PROPERTIES,
    "stays.stay": STAYS,
    "telemetry.edge": PROPERTIES,
    "telemetry.folded_": LetGo("cloud/telemetry/store/timescale.py", 'DELETE FROM " + _FOLDED'),
    "telemetry.hole": Kept("positions that an edge said it lost, by which completeness is proved; a row each time"),
    "telemetry.kept": Bounded("one row a resolution of the time series"),
    "telemetry.latest": Bounded("one row a point; a property has room for so many points (0112)"),
    "telemetry.proof": Kept("a row a day and lane of an edge stands for the records that went: 1,100 a year"),
    "telemetry.reading": LetGo("cloud/telemetry/store/plain.py", "DROP TABLE telemetry.{}"),
    "telemetry.reading_rest": LetGo("cloud/telemetry/store/plain.py"),
    "telemetry.record": LetGo("cloud/telemetry/ledger_keeping.py", "DROP TABLE telemetry.{}"),
    "telemetry.refused": LetGo("cloud/telemetry/refused_keeping.py"),
    "telemetry.rollup_15m": LetGo("cloud/telemetry/store/plain.py", "DROP TABLE telemetry.{}"),
    "telemetry.rollup_1d": LetGo("cloud/telemetry/store/plain.py", "DROP TABLE telemetry.{}"),
    "telemetry.rollup_1m": LetGo("cloud/telemetry/store/plain.py", "DROP TABLE telemetry.{}"),
    "telemetry.rollup_due": LetGo("cloud/telemetry/store/backlog.py"),
    "telemetry.rollup_log": LetGo("cloud/telemetry/store/backlog.py"),
    "telemetry.series": LetGo("cloud/telemetry/store/series_keeping.py"),
    "telemetry.shard": Bounded("one row a shard, made with the schema"),
    "telemetry.stream": Bounded("one row a lane of each life of an edge's log: three each time that a log is lost"),
    "telemetry.worker": LetGo("cloud/telemetry/fan_in/lease_store.py"),
    "webhooks.delivery": LetGo("cloud/webhooks/keeping.py"),
    "webhooks.endpoint": Bounded("what a tenant made by hand: 20 that are open at a time"),
}
"""By name. Partitions count as the table that they are part of."""

LANES: Final = "edge/log/lane_file.py"
HOUSE: Final = "edge/app/edge_store.py"
DOORS: Final = "edge/doors/store_schema.py"
VENDORS: Final = "edge/doors/vendors/ledger.py"
EDGE: Final[dict[tuple[str, str], Fate]] = {
    (LANES, "record"): LetGo("edge/log/lane_space.py"),
    (LANES, "signed_head"): LetGo("edge/log/heads.py"),
    (LANES, "life"): Bounded("one row each time that a log's file was lost or put back"),
    (LANES, "opening"): LetGo("edge/log/lane_store.py"),
    (LANES, "hole"): LetGo("edge/log/lane_space.py"),
    (LANES, "cursor"): Bounded("one row a reader of the log"),
    (LANES, "source"): Bounded("one row a source that the log is fed from"),
    (LANES, "command"): LetGo("edge/log/lane_desk.py"),
    (LANES, "document"): Bounded("one row a kind of document"),
    ("edge/log/refusals.py", "{TABLE}"): LetGo("edge/log/refusals.py", "DELETE FROM {} WHERE"),
    (HOUSE, "cursor"): Bounded("one row a source that the house follows"),
    (HOUSE, "document"): Bounded("one row a kind of document"),
    (HOUSE, "decision"): LetGo(HOUSE),
    (HOUSE, "room"): Bounded("one row a room of the house"),
    (HOUSE, "command"): LetGo(HOUSE),
    (HOUSE, "ended"): LetGo(HOUSE),
    (DOORS, "life"): Bounded("one row, by its own CHECK"),
    (DOORS, "room"): Bounded("one row a room number of the house"),
    (DOORS, "stay"): LetGo("edge/doors/grant_keeping.py"),
    (DOORS, "grant_issued"): LetGo(
        "edge/doors/grant_keeping.py", 'for table in ("grant_issued", "curtailed", "doubted")'
    ),
    (DOORS, "bump"): LetGo("edge/doors/grant_keeping.py"),
    (DOORS, "lock"): Bounded("one row a lock that was ever visited"),
    (DOORS, "record"): LetGo("edge/doors/store.py"),
    (DOORS, "event"): LetGo("edge/doors/store.py"),
    (DOORS, "withdrawn"): LetGo("edge/doors/grant_keeping.py"),
    (DOORS, "withdrawn_issuer"): Kept("an issuer that somebody withdrew, by hand, in a case of theft; a few in all"),
    (DOORS, "revocation_list"): Bounded("one row, by its own CHECK"),
    (DOORS, "lockout"): Bounded("one row a lock of the house"),
    (DOORS, "told"): Bounded("one row a lock of the house"),
    (DOORS, "doubted"): LetGo("edge/doors/grant_keeping.py", 'for table in ("grant_issued", "curtailed", "doubted")'),
    (DOORS, "draft"): LetGo("edge/doors/drafts.py"),
    (DOORS, "common_list"): Bounded("one row, by its own CHECK"),
    (DOORS, "sealed_room"): LetGo("edge/doors/closing_store.py"),
    (DOORS, "forgotten"): Bounded("one row, by its own CHECK"),
    (DOORS, "curtailed"): LetGo("edge/doors/grant_keeping.py", 'for table in ("grant_issued", "curtailed", "doubted")'),
    ("edge/doors/event_positions.py", "unanswered"): LetGo("edge/doors/event_positions.py"),
    (VENDORS, "life"): Bounded("one row, by its own CHECK"),
    (VENDORS, "key"): LetGo(VENDORS),
    (VENDORS, "ended_stay"): LetGo(VENDORS),
    (VENDORS, "cursor"): Bounded("one row a lock system of another maker"),
    (VENDORS, "event"): LetGo(VENDORS),
    (VENDORS, "withdrawn"): LetGo(VENDORS),
    (VENDORS, "slot"): Bounded("one row a slot that a keypad has"),
    (VENDORS, "phone"): LetGo(VENDORS),
    (VENDORS, "opening"): LetGo(VENDORS),
    (VENDORS, "keypad_to_read"): LetGo(VENDORS),
    (VENDORS, "changed"): Bounded("one row, by its own CHECK"),
}
"""By file and name."""


def made_in(source: str) -> set[str]:
    """Return the tables that a module makes."""
    return set(MADE.findall(source))


def flaw(table: str, fate: Fate) -> str | None:
    """Return what is wrong with what is said of a table, if anything is."""
    if not isinstance(fate, LetGo):
        return None if len(fate.why.split()) >= WORDS_LEAST else f"{table}: {fate.why!r} is no reason"
    path, said = ROOT / fate.by, fate.said or f"DELETE FROM {table}"  # noqa: S608 - looked for, never run
    if not path.is_file():
        return f"{table}: no file {fate.by}"
    deletes = re.search(re.escape(said) + (r"\b" if said[-1].isalnum() else ""), path.read_text(encoding="utf-8"))
    return None if deletes else f"{table}: {fate.by} does not say {said!r}"


def cloud_tables() -> set[str]:
    """Return the tables that migrations make, but for partitions made along the way."""
    files = [path for path in python_files("cloud") if path.parent.name == "migrations"]
    return {name for path in files for name in made_in(path.read_text(encoding="utf-8")) if "{" not in name}


def edge_tables() -> set[tuple[str, str]]:
    return {(place(path), name) for path in python_files("edge") for name in made_in(path.read_text(encoding="utf-8"))}


def test_of_every_table_of_the_cloud_somebody_has_said_what_ends_its_rows() -> None:
    assert cloud_tables() == set(CLOUD)


def test_of_every_table_of_the_edge_somebody_has_said_what_ends_its_rows() -> None:
    assert edge_tables() == set(EDGE)


def test_whoever_is_named_does_delete_and_whatever_is_kept_has_its_reason() -> None:
    found = [flaw(table, fate) for table, fate in CLOUD.items()]
    found += [flaw(table, fate) for (_, table), fate in EDGE.items()]
    assert [each for each in found if each] == []


@pytest.mark.parametrize(
    "fate", [Bounded("it is small"), Kept(""), LetGo("edge/doors/store_schema.py"), LetGo("edge/nowhere.py")]
)
def test_what_does_not_hold_is_found(fate: Fate) -> None:
    assert flaw("event", fate) is not None


def test_a_longer_name_is_another_table(tmp_path: Path) -> None:
    assert flaw("stay", LetGo("cloud/webhooks/keeping.py")) is not None
    assert made_in("CREATE TABLE IF NOT EXISTS a.b (\nCREATE TABLE {NAME} (") == {"a.b", "{NAME}"}
