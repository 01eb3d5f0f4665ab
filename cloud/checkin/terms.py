"""The terms of a house: a text a version and language, written once and never changed (docs/decisions/0104).

Which version a check-in asks for is its signed policy's; what a guest accepted is named by the SHA-256 of the very
text that he was shown and by its language: two languages may say the same in the same letters. A language may be added
to a version; a text that stands is replaced only by another version.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.kit.database import Connection, execute, fetch_all, lock_for_transaction
from cloud.kit.times import at
from cloud.platform.properties import Property
from protocols.errors import InvalidInputError, PlatformError

CHARACTERS_MOST: Final = 60_000
LANGUAGES_MOST: Final = 40
VERSIONS_MOST: Final = 200
SPARE: Final = "en"
"""Shown to who reads none of a version's languages, if it is there."""
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_LANGUAGE: Final = re.compile(r"[a-z]{2}")


class TermsStandError(PlatformError):
    """Another text stands for this version and language, or there are as many as may be."""


@dataclass(frozen=True, slots=True)
class Terms:
    """One text as it was shown: paragraphs divided by empty lines; `sha256` of its UTF-8, lower-case hexadecimal."""

    version: str
    language: str
    text: str
    sha256: str
    made_by: str
    made_at: datetime


def written(text: str) -> str:
    """Return a text as it is kept: NFC, lines ended by a line feed, no blanks at their ends or at the text's.

    Raises:
        InvalidInputError: empty, too long, or with characters that nobody can read.
    """
    lines = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    kept = "\n".join(line.rstrip() for line in lines).strip("\n")
    if not kept.strip() or len(kept) > CHARACTERS_MOST:
        raise InvalidInputError("text", f"want 1 to {CHARACTERS_MOST} characters, not blank ones alone")
    if any(unicodedata.category(each) in ("Cc", "Cs", "Cn", "Co") and each not in "\n\t" for each in kept):
        raise InvalidInputError("text", "holds control characters; send plain text")
    return kept


def digest(text: str) -> str:
    """Return what names a text."""
    return hashlib.sha256(text.encode()).hexdigest()


async def publish(
    connection: Connection, place: Property, *, version: str, language: str, text: str, by: str, now_ms: int
) -> Terms:
    """Write down a text. The same again changes nothing.

    Raises:
        InvalidInputError: a version, a language or a text that is none.
        TermsStandError: see there; nothing was written.
    """
    if _VERSION.fullmatch(version) is None:
        raise InvalidInputError("version", "want 1 to 80 letters, digits, dots, dashes or underscores")
    if _LANGUAGE.fullmatch(language) is None:
        raise InvalidInputError("language", "want two small letters (ISO 639-1)")
    kept = written(text)
    await lock_for_transaction(connection, "terms", place.id, version)
    standing = await of_version(connection, place, version)
    if (known := standing.get(language)) is not None:
        if known.text == kept:
            return known
        raise TermsStandError(f"Version {version} has another text in {language!r}; publish a new version instead.")
    full = len(standing) >= LANGUAGES_MOST or (not standing and len(await versions(connection, place)) >= VERSIONS_MOST)
    if full:
        raise TermsStandError(f"At most {LANGUAGES_MOST} languages of {VERSIONS_MOST} versions are kept.")
    await execute(
        connection,
        "INSERT INTO checkin.terms (tenant, property, version, language, text, sha256, made_by, made_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            place.tenant, place.id, version, language, kept, bytes.fromhex(digest(kept)), by, at(now_ms),
        ],
    )  # fmt: skip
    return (await of_version(connection, place, version))[language]


async def of_version(connection: Connection, place: Property, version: str) -> dict[str, Terms]:
    """Return the texts of a version by language; empty: the house has it on paper alone, or not at all."""
    rows = await fetch_all(
        connection,
        "SELECT version, language, text, encode(sha256, 'hex') AS sha256, made_by, made_at FROM checkin.terms"
        " WHERE tenant = %s AND property = %s AND version = %s ORDER BY language",
        [place.tenant, place.id, version],
    )
    return {row["language"]: Terms(**row) for row in rows}


async def versions(connection: Connection, place: Property) -> dict[str, list[Terms]]:
    """Return every version with its languages, the newest first; texts are left out (empty)."""
    rows = await fetch_all(
        connection,
        """SELECT version, language, '' AS text, encode(sha256, 'hex') AS sha256, made_by, made_at,
                  min(made_at) OVER (PARTITION BY version) AS began
             FROM checkin.terms WHERE tenant = %s AND property = %s ORDER BY began DESC, version, language""",
        [place.tenant, place.id],
    )
    found: dict[str, list[Terms]] = {}
    for row in rows:
        del row["began"]
        found.setdefault(row["version"], []).append(Terms(**row))
    return found


def chosen(texts: Mapping[str, Terms], language: str) -> Terms | None:
    """Return the text for a reader: in his language, else in English, else the first there is."""
    return texts.get(language) or texts.get(SPARE) or next(iter(texts.values()), None)


def accepted(
    texts: Mapping[str, Terms], version: str, sha256: str | None, language: str | None = None
) -> dict[str, str]:
    """Return what is kept of a consent: the version, and the text that was shown, by its language.

    `language` None: as the digest tells, where it tells one.

    Raises:
        InvalidInputError: there is a text, and not this one was shown; or the digest is that of several languages.
    """
    alike = [each for each in texts.values() if each.sha256 == sha256 and language in (None, each.language)]
    if len(alike) > 1:
        told = ", ".join(each.language for each in alike)
        raise InvalidInputError("language", f"is needed: this text is the same in {told}")
    if not alike and (texts or sha256 is not None or language is not None):
        raise InvalidInputError(
            "version", "is not accepted by its text: read it again and send its language and sha256"
        )
    shown = {} if not alike else {"language": alike[0].language, "sha256": alike[0].sha256}
    return {"version": version, **shown}
