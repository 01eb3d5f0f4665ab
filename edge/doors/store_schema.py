"""The tables of the doors' store, by version: what a new file gets, and what an older one gets added.

A version only ever adds tables: a store of an earlier build is brought here in one transaction at its opening.
"""

from typing import Final

SCHEMA_VERSION: Final = 4

SCHEMA: Final = """
CREATE TABLE life (
    no INTEGER PRIMARY KEY CHECK (no = 1), epoch BLOB NOT NULL, high_water_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE room (number INTEGER PRIMARY KEY, highest INTEGER NOT NULL) STRICT;
CREATE TABLE stay (
    stay TEXT PRIMARY KEY, generation INTEGER NOT NULL, rooms TEXT NOT NULL, ended_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE grant_issued (
    grant_id BLOB PRIMARY KEY, stay TEXT NOT NULL, phone BLOB NOT NULL, generation INTEGER NOT NULL,
    issued_at_ms INTEGER NOT NULL, not_before_s INTEGER NOT NULL, not_after_s INTEGER NOT NULL,
    wanted_until_s INTEGER NOT NULL, rooms TEXT NOT NULL, zones INTEGER NOT NULL, flags INTEGER NOT NULL,
    signed BLOB NOT NULL, certificate BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX grant_of_stay ON grant_issued (stay, phone, issued_at_ms);
CREATE TABLE bump (
    no INTEGER PRIMARY KEY, lock BLOB NOT NULL, number INTEGER NOT NULL, generation INTEGER NOT NULL,
    stay TEXT NOT NULL, queued_at_ms INTEGER NOT NULL, signed BLOB, certificate BLOB, signed_at_s INTEGER,
    delivered_at_ms INTEGER
) STRICT;
CREATE INDEX bump_pending ON bump (lock) WHERE delivered_at_ms IS NULL;
CREATE TABLE lock (
    lock BLOB PRIMARY KEY, seq INTEGER NOT NULL, head BLOB NOT NULL, generation INTEGER NOT NULL,
    battery_percent INTEGER NOT NULL, time_quality INTEGER NOT NULL, noise INTEGER NOT NULL,
    contact_at_ms INTEGER NOT NULL, broken TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    lock BLOB NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, received_at_ms INTEGER NOT NULL,
    PRIMARY KEY (lock, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_age ON record (received_at_ms);
CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, device_at_ms INTEGER) STRICT;
"""

ADDED_IN_2: Final = """
CREATE TABLE withdrawn (
    grant_id BLOB PRIMARY KEY, holder TEXT NOT NULL, phone BLOB NOT NULL, kid BLOB NOT NULL, until_s INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX withdrawn_holder ON withdrawn (holder, phone);
CREATE TABLE withdrawn_issuer (
    kid BLOB PRIMARY KEY, until_s INTEGER NOT NULL, at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE revocation_list (
    no INTEGER PRIMARY KEY CHECK (no = 1), seq INTEGER NOT NULL, due INTEGER NOT NULL, body TEXT NOT NULL,
    signed BLOB, plain BLOB, certificate BLOB, signed_at_s INTEGER
) STRICT;
INSERT INTO revocation_list VALUES (1, 0, 0, '{"grants": [], "issuers": []}', NULL, NULL, NULL, NULL);
CREATE TABLE lockout (
    lock BLOB PRIMARY KEY, seq INTEGER NOT NULL, sealed INTEGER NOT NULL, at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE told (
    lock BLOB PRIMARY KEY, revocation_seq INTEGER NOT NULL, lockout_seq INTEGER NOT NULL,
    unable_list INTEGER NOT NULL, unable_lockout INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE doubted (grant_id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
"""
"""What was withdrawn and sealed, which lock was told, which grants a lock refused as withdrawn though not so here."""

ADDED_IN_3: Final = """
CREATE TABLE draft (
    no INTEGER PRIMARY KEY AUTOINCREMENT, grant_id BLOB NOT NULL UNIQUE, kid BLOB NOT NULL, holder TEXT NOT NULL,
    reason TEXT NOT NULL, phone BLOB NOT NULL, issued_at_s INTEGER NOT NULL, until_s INTEGER NOT NULL,
    terms TEXT NOT NULL
) STRICT;
"""
"""Emergency keys that officers have still to approve (drafts.py)."""

ADDED_IN_4: Final = """
CREATE TABLE common_list (
    no INTEGER PRIMARY KEY CHECK (no = 1), seq INTEGER NOT NULL, due INTEGER NOT NULL, body TEXT NOT NULL,
    signed BLOB, plain BLOB, certificate BLOB, signed_at_s INTEGER
) STRICT;
INSERT INTO common_list VALUES (1, 0, 0, '{"grants": [], "issuers": []}', NULL, NULL, NULL, NULL);
CREATE TABLE sealed_room (room TEXT PRIMARY KEY, doors TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
"""The list of the common doors, which names departed guests as well (closing_lists.py); sealed rooms that have doors of
other lock systems."""

FORGOTTEN: Final = """
CREATE TABLE IF NOT EXISTS forgotten (no INTEGER PRIMARY KEY CHECK (no = 1), generation INTEGER NOT NULL) STRICT;
"""
"""Up to which generation this store may have forgotten what was handed out. Made at each opening, whatever the version:
an earlier build leaves it alone."""

CURTAILED: Final = """
CREATE TABLE IF NOT EXISTS curtailed (
    grant_id BLOB PRIMARY KEY, stay TEXT NOT NULL, kid BLOB NOT NULL, until_s INTEGER NOT NULL,
    listed INTEGER NOT NULL, at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS grant_end ON grant_issued (not_after_s);
"""
"""Grants that would have outlasted their stay and were taken away at its end (curtailed_keys.py); `listed`: by the list
for every lock. Made as `forgotten` is; and so the index by which a departure finds the few grants that are not over."""

TABLES: Final = frozenset(
    {
        *("life", "room", "stay", "grant_issued", "bump", "lock", "record", "event"),
        *("withdrawn", "withdrawn_issuer", "revocation_list", "lockout", "told", "doubted", "draft", "common_list"),
        "sealed_room",
    }
)
