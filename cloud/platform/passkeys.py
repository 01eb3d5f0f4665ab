"""Passkeys (WebAuthn level 3): added by who has just signed in, used instead of address and password, and taken away.

A passkey is discoverable and verifies its user: it is two factors in one, and names the account by itself. A challenge
is random, ours, good for one answer and CHALLENGE_MS. The answer must come from one of our own origins, in no other
site's frame. Which signatures and structures are right is judged by `webauthn`; whose key it is, and what its count
means, is judged here. No attestation is asked for: it would tell who made the authenticator, of which nothing follows.

Source: https://www.w3.org/TR/webauthn-3/, sections 7.1 and 7.2.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import base64url_to_bytes, parse_authentication_credential_json, parse_client_data_json
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.options_to_json_dict import options_to_json_dict
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from cloud.kit.acting import acting, system
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.platform import attempts, audit
from cloud.platform.accounts import RandomBytes, digest
from cloud.platform.relying_party import RelyingParty
from cloud.platform.sign_in import WallClock, Where
from protocols.errors import InvalidInputError, PlatformError

CHALLENGE_MS: Final = 5 * 60_000
CHALLENGE_BYTES: Final = 32
PASSKEYS_MOST: Final = 20
ID_BYTES: Final = 8
CREDENTIAL_BYTES_MOST: Final = 1_023  # WebAuthn's own bound
MEANS: Final = "passkey:"
_ACTOR: Final = system("passkeys")
_ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
_BAD: Final = (
    WebAuthnException, UnsupportedAlgorithm, ValueError, LookupError, TypeError, AttributeError, OverflowError,
    EOFError, struct.error,
)  # fmt: skip
"""What `webauthn` and the decoders below it raise over bytes that are none; every one means: not a valid answer."""
_REFUSED: Final = "this passkey is not good here"


class PasskeyRefusedError(PlatformError):
    """The answer of an authenticator is not valid, or its passkey is none of ours: use another way to sign in."""


class PasskeyClonedError(PasskeyRefusedError):
    """The passkey's count ran back, so its key exists twice: it is suspended, and what it opened is ended."""


@dataclass(frozen=True, slots=True)
class Passkey:
    """One passkey of an account. `synced`: its key may live in several devices of its owner."""

    id: str
    name: str
    synced: bool
    created_at: datetime
    used_at: datetime | None
    suspended_at: datetime | None


class Passkeys:
    """Adds, lists, removes and believes passkeys."""

    def __init__(self, database: Database, party: RelyingParty, *, clock: WallClock, dice: RandomBytes) -> None:
        """Everything here runs as the service: who signs in is nobody yet."""
        self._database, self._party, self._clock, self._dice = database, party, clock, dice

    async def options_to_sign_in(self, where: Where) -> dict[str, Any]:
        """Return what `navigator.credentials.get` takes. Raises TooManyAttemptsError."""
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                wait_s = await attempts.count_asked(connection, address=where.address, now_ms=now_ms)
                challenge = b"" if wait_s else await self._challenge(connection, None, now_ms)
        if wait_s:
            raise attempts.TooManyAttemptsError(wait_s)
        options = generate_authentication_options(
            rp_id=self._party.id,
            challenge=challenge,
            timeout=CHALLENGE_MS,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json_dict(options)

    async def options_to_add(self, account: str) -> dict[str, Any]:
        """Return what `navigator.credentials.create` takes. Raises InvalidInputError: there are PASSKEYS_MOST."""
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                rows = await fetch_all(
                    connection,
                    "SELECT a.email, a.name, p.credential FROM platform.account a"
                    "  LEFT JOIN platform.passkey p ON p.account = a.id WHERE a.id = %s",
                    [account],
                )
                known = [bytes(row["credential"]) for row in rows if row["credential"] is not None]
                if len(known) >= PASSKEYS_MOST:
                    raise InvalidInputError("passkeys", f"there are {PASSKEYS_MOST}: remove one first")
                challenge = await self._challenge(connection, account, now_ms)
        options = generate_registration_options(
            rp_id=self._party.id,
            rp_name=self._party.name,
            user_id=account.encode(),
            user_name=rows[0]["email"],
            user_display_name=rows[0]["name"],
            challenge=challenge,
            timeout=CHALLENGE_MS,
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in known],
            supported_pub_key_algs=_ALGORITHMS,
        )
        return options_to_json_dict(options)

    async def add(self, account: str, credential: dict[str, Any], *, name: str, where: Where) -> Passkey:
        """Add the passkey that an authenticator made for our challenge to this account.

        Raises:
            PasskeyRefusedError: the answer is not valid, not for a challenge of this account, or the key is known.
            InvalidInputError: there are PASSKEYS_MOST.
        """
        now_ms = self._clock.wall_ms()
        challenge = _challenge_in(credential)
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                good = await self._used_up(connection, challenge, account, now_ms)
        if not good:
            raise PasskeyRefusedError("the challenge has ended or was answered before; begin again")
        made = self._judge_new(credential, challenge)
        if len(made.credential_id) > CREDENTIAL_BYTES_MOST:
            raise PasskeyRefusedError("the credential's id is longer than WebAuthn lets it be")
        synced = made.credential_device_type is CredentialDeviceType.MULTI_DEVICE
        id_ = f"k-{self._dice.bytes(ID_BYTES).hex()}"
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                owner = await fetch_one(
                    connection,
                    "SELECT tenant, email FROM platform.account WHERE id = %s AND disabled_at IS NULL FOR UPDATE",
                    [account],
                )
                if owner is None:
                    raise PasskeyRefusedError(_REFUSED)
                count = await fetch_one(
                    connection, "SELECT count(*) AS n FROM platform.passkey WHERE account = %s", [account]
                )
                if count is not None and count["n"] >= PASSKEYS_MOST:
                    raise InvalidInputError("passkeys", f"there are {PASSKEYS_MOST}: remove one first")
                added = await execute(
                    connection,
                    "INSERT INTO platform.passkey (id, tenant, account, credential, public_key, sign_count, name,"
                    " synced, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    [
                        id_, owner["tenant"], account, made.credential_id, made.credential_public_key,
                        made.sign_count, name, synced, at(now_ms),
                    ],
                )  # fmt: skip
                if not added:
                    raise PasskeyRefusedError("this passkey is known already")
                await _record(
                    connection,
                    owner,
                    action="passkey.add",
                    subject=id_,
                    detail=f"{name} at {where.address}",
                    now_ms=now_ms,
                )
        return Passkey(id_, name, synced, at(now_ms), None, None)

    async def account_of(self, credential: dict[str, Any]) -> tuple[str, str]:
        """Return the account that an authenticator's answer proves, and by which means, for SignIn.

        Raises:
            PasskeyRefusedError: the answer is not valid, or not for a challenge that still stands.
            PasskeyClonedError: the count ran back.
        """
        now_ms = self._clock.wall_ms()
        challenge = _challenge_in(credential)
        try:
            parsed = parse_authentication_credential_json(credential)
        except _BAD as error:
            raise PasskeyRefusedError("the answer is no WebAuthn assertion") from error
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                good = await self._used_up(connection, challenge, None, now_ms)  # whatever comes of it
                row = await fetch_one(
                    connection,
                    "SELECT p.id, p.account, p.public_key FROM platform.passkey p"
                    "  JOIN platform.account a ON a.id = p.account"
                    " WHERE p.credential = %s AND p.suspended_at IS NULL AND a.disabled_at IS NULL",
                    [parsed.raw_id],
                )
        if not good:
            raise PasskeyRefusedError("the challenge has ended or was answered before; begin again")
        if row is None or parsed.response.user_handle != str(row["account"]).encode():
            raise PasskeyRefusedError(_REFUSED)
        answer = self._judge(credential, challenge, bytes(row["public_key"]))
        await self._count(row["id"], answer, now_ms)
        return str(row["account"]), f"{MEANS}{row['id']}"

    async def of_account(self, account: str) -> Sequence[Passkey]:
        """Return an account's passkeys, oldest first."""
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                rows = await fetch_all(
                    connection,
                    "SELECT id, name, synced, created_at, used_at, suspended_at FROM platform.passkey"
                    " WHERE account = %s ORDER BY created_at, id",
                    [account],
                )
        return [Passkey(**row) for row in rows]

    async def remove(self, account: str, passkey: str, *, keep: str | None, where: Where) -> bool:
        """Take a passkey away and end the sign-ins that it made, except `keep`; return whether the account had it."""
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,
                    "DELETE FROM platform.passkey p USING platform.account a WHERE p.id = %s AND p.account = %s"
                    " AND a.id = p.account RETURNING a.tenant, a.email, p.name",
                    [passkey, account],
                )
                if row is not None:
                    await _end_made_by(
                        connection, account, passkey, why="its passkey was removed", keep=keep, now_ms=now_ms
                    )
                    detail = f"{row['name']} at {where.address}"
                    await _record(
                        connection, row, action="passkey.remove", subject=passkey, detail=detail, now_ms=now_ms
                    )
        return row is not None

    # ------------------------------------------------------------------ inside

    async def _challenge(self, connection: Connection, account: str | None, now_ms: int) -> bytes:
        challenge = self._dice.bytes(CHALLENGE_BYTES)
        await execute(connection, "DELETE FROM platform.challenge WHERE expires_at <= %s", [at(now_ms)])
        await execute(
            connection,
            "INSERT INTO platform.challenge (sha256, account, expires_at) VALUES (%s, %s, %s)",
            [digest(challenge.hex()), account, at(now_ms + CHALLENGE_MS)],
        )
        return challenge

    async def _used_up(self, connection: Connection, challenge: bytes, account: str | None, now_ms: int) -> bool:
        """Take a challenge out; return whether it stood, and for this purpose. Commit it, whatever the answer."""
        row = await fetch_one(
            connection,
            "DELETE FROM platform.challenge WHERE sha256 = %s RETURNING account, expires_at",
            [digest(challenge.hex())],
        )
        return row is not None and row["account"] == account and at(now_ms) < row["expires_at"]

    def _judge_new(self, credential: dict[str, Any], challenge: bytes) -> VerifiedRegistration:
        try:
            return verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._party.id,
                expected_origin=list(self._party.origins),
                require_user_verification=True,
                supported_pub_key_algs=_ALGORITHMS,
            )
        except _BAD as error:
            raise PasskeyRefusedError(f"the authenticator's answer is not valid: {error}"[:300]) from error

    def _judge(self, credential: dict[str, Any], challenge: bytes, public_key: bytes) -> VerifiedAuthentication:
        try:
            return verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._party.id,
                expected_origin=list(self._party.origins),
                credential_public_key=public_key,
                credential_current_sign_count=0,  # what the count means is judged in _count, under the row's lock
                require_user_verification=True,
            )
        except _BAD as error:
            raise PasskeyRefusedError(_REFUSED) from error

    async def _count(self, passkey: str, answer: VerifiedAuthentication, now_ms: int) -> None:
        """Believe an authenticator's count only forwards. Its signature was right: whoever is here holds the key.

        An authenticator that does not count says 0 for ever. One that counted and says the same or less again is
        another than the one that counted last.
        """
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,
                    "SELECT p.sign_count, p.synced, p.account, a.tenant, a.email FROM platform.passkey p"
                    "  JOIN platform.account a ON a.id = p.account"
                    " WHERE p.id = %s AND p.suspended_at IS NULL FOR UPDATE OF p",
                    [passkey],
                )
                if row is None:  # taken away while we computed
                    raise PasskeyRefusedError(_REFUSED)
                synced = answer.credential_device_type is CredentialDeviceType.MULTI_DEVICE
                ran_back = max(row["sign_count"], answer.new_sign_count) > 0 and answer.new_sign_count <= row[
                    "sign_count"
                ]  # fmt: skip
                if ran_back:
                    await execute(
                        connection,
                        "UPDATE platform.passkey SET suspended_at = %s WHERE id = %s",
                        [at(now_ms), passkey],
                    )
                    await _end_made_by(
                        connection, row["account"], passkey, why="its passkey exists twice", keep=None, now_ms=now_ms
                    )
                    detail = f"its count was {row['sign_count']} and came as {answer.new_sign_count}"
                    await _record(
                        connection,
                        row,
                        action="passkey.cloned",
                        subject=passkey,
                        detail=detail,
                        now_ms=now_ms,
                        outcome=audit.Outcome.DENIED,
                    )
                elif synced == row["synced"]:
                    await execute(
                        connection,
                        "UPDATE platform.passkey SET sign_count = %s, used_at = %s WHERE id = %s",
                        [answer.new_sign_count, at(now_ms), passkey],
                    )
        if ran_back:
            raise PasskeyClonedError("this passkey was suspended: its count ran back, so its key exists twice")
        if synced != row["synced"]:  # an authenticator may not change its mind (section 7.2, step 18)
            raise PasskeyRefusedError(_REFUSED)


def _challenge_in(credential: dict[str, Any]) -> bytes:
    """Return the challenge that an answer is for. Raises PasskeyRefusedError."""
    try:
        response = credential["response"]
        told = parse_client_data_json(_decoded(response["clientDataJSON"]))
    except _BAD as error:
        raise PasskeyRefusedError("the answer holds no client data") from error
    if told.cross_origin:
        raise PasskeyRefusedError("the answer comes out of another site's frame")
    return told.challenge


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("want base64url")
    return base64url_to_bytes(text)


async def _end_made_by(
    connection: Connection, account: str, passkey: str, *, why: str, keep: str | None, now_ms: int
) -> None:
    await execute(
        connection,
        "UPDATE platform.sign_in SET ended_at = %s, ended_why = %s WHERE account = %s AND means = %s"
        " AND ended_at IS NULL AND id IS DISTINCT FROM %s",
        [at(now_ms), why, account, f"{MEANS}{passkey}", keep],
    )


async def _record(
    connection: Connection,
    owner: Mapping[str, Any],
    *,
    action: str,
    subject: str,
    detail: str,
    now_ms: int,
    outcome: audit.Outcome = audit.Outcome.DONE,
) -> None:
    await audit.append(
        connection,
        tenant=owner["tenant"],
        actor=owner["email"],
        action=action,
        subject=subject,
        detail=detail,
        outcome=outcome,
        now_ms=now_ms,
    )
