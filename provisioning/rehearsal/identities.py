"""The identities of a rehearsed property: who its locks, its issuer and its cloud are.

Development enrolment: everything is made on this machine in one go and written to files that only their owner may
read. On real doors the lock makes its own key and shows the public half (guarantees.md 5.2); the documents are
the same.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kit.dice import Dice
from protocols import cose
from protocols.door.identity import LockIdentity, generate_lock_for, secrets_document, secrets_of
from protocols.grant.keys import PropertyCa, compressed, generate_property_ca, kid_of, private_key
from provisioning.inventory.inventory import DoorEntry
from provisioning.pki.development_ca import write_private


@dataclass(frozen=True, slots=True)
class DoorIdentities:
    """The door hierarchy of one property."""

    ca: PropertyCa
    locks: dict[str, LockIdentity]
    officers: tuple[ec.EllipticCurvePrivateKey, ...]
    """Two people; in a hotel each has a key of his own, on a device of his own."""

    def officer_points(self) -> list[str]:
        """Return what doors.toml says of the officers."""
        return [compressed(each.public_key()).hex() for each in self.officers]

    def approvals(self, statement: str) -> list[dict[str, str]]:
        """Return what both officers sign under an emergency key's draft."""
        return [
            {
                "officer": kid_of(each.public_key()).hex(),
                "signature": cose.sign_raw(each, bytes.fromhex(statement)).hex(),
            }
            for each in self.officers
        ]

    def public_parts(self) -> dict[str, dict[str, str]]:
        """Return what the site plan says of each lock: door id to `lock` and `s_lock`."""
        return {door: {"lock": lock.lock_id.hex(), "s_lock": lock.s_lock.hex()} for door, lock in self.locks.items()}

    def write_doors_files(self, folder: Path) -> tuple[Path, Path]:
        """Write what the doors process needs; return the property CA file and the door secrets file."""
        ca_path, secrets_path = folder / "property_ca.json", folder / "doors.secrets.json"
        write_private(ca_path, _json(self.ca.to_document()))
        secrets = {door: secrets_of(lock) for door, lock in self.locks.items()}
        write_private(secrets_path, _json(secrets_document(secrets)))
        return ca_path, secrets_path


def make_door_identities(property_id: str, doors: list[DoorEntry], dice: Dice) -> DoorIdentities:
    """Make the property CA and one lock for every door."""
    ca = generate_property_ca(property_id, dice.bytes)
    return DoorIdentities(
        ca,
        {door.id: generate_lock_for(ca, dice.bytes, room=door.number, zones=door.zones) for door in doors},
        (private_key(dice.bytes), private_key(dice.bytes)),
    )


def make_signing_key(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key that signs; return private and public PEM files, `name`.key.pem and `name`.pub.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    private_path, public_path = folder / f"{name}.key.pem", folder / f"{name}.pub.pem"
    write_private(
        private_path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    public_path.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private_path, public_path


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
