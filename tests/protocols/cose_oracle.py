"""An independent COSE says what ours says. Run by hand, in an environment of its own: `cwt` wants an older cbor2.

    alias oracle="uv run --no-project --isolated --with cwt==3.3.0 tests/protocols/cose_oracle.py"
    oracle make > tests/protocols/cose_by_cwt.json
    oracle check protocols/vectors

`make` writes messages that cwt signed, which test_cose.py verifies with ours; `check` verifies every certificate, grant
and signed object of the vectors with cwt, and sees it refuse them with one bit changed. Nothing of ours is imported.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCALAR = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")  # RFC 6979 A.2.5
X = bytes.fromhex("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6")
Y = bytes.fromhex("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299")
TAG_18 = b"\xd2"


def make() -> None:
    """Print messages signed by cwt."""
    from cwt import COSE, COSEKey  # type: ignore[import-not-found]  # in an environment of its own

    cases = []
    for kid, payload, external in (
        (b"\x01\x02\x03\x04", b"payload", b""),
        (b"kid", b"", b"use"),
        (b"k" * 32, b"\xa0", b""),
    ):
        key = COSEKey.new({1: 2, 2: kid, 3: -7, -1: 1, -2: X, -3: Y, -4: SCALAR})
        signed = COSE.new().encode(payload, key, {1: -7, 4: kid}, {}, external_aad=external)
        cases.append(
            {"kid": kid.hex(), "payload": payload.hex(), "external": external.hex(), "message": untagged(signed).hex()}
        )
    public = (b"\x02" if Y[-1] % 2 == 0 else b"\x03") + X
    sys.stdout.write(
        json.dumps({"v": 1, "by": "cwt 3.3.0", "public": public.hex(), "messages": cases}, indent=1) + "\n"
    )


def untagged(message: bytes) -> bytes:
    """Return a COSE_Sign1 without its tag, as our profile has it."""
    return message[1:] if message[:1] == TAG_18 else message


def check(folder: Path) -> int:
    """Verify every signed thing of the vectors; return 0 if cwt agrees with all of them."""
    from cwt import COSE

    count = 0
    for signed, point in signed_things(folder):
        if COSE.new().decode(TAG_18 + signed, key_of(point, kid_of(signed))) is None:
            raise SystemExit(f"cwt does not verify {signed.hex()}")
        flipped = signed[:-1] + bytes([signed[-1] ^ 1])
        try:
            COSE.new().decode(TAG_18 + flipped, key_of(point, kid_of(signed)))
        except Exception:  # noqa: BLE001 - cwt's own, whichever
            count += 1
        else:
            raise SystemExit(f"cwt verifies {flipped.hex()}")
    sys.stdout.write(f"{count} signed things verified, and refused with a bit changed\n")
    return 0


def signed_things(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield every signed thing of the vectors that is not to be refused, and its signer's point."""
    certificates = read(folder, "certificates")
    ca = bytes.fromhex(certificates["keys"]["ca"]["public"])
    by_kid = {bytes.fromhex(each["kid"]): bytes.fromhex(each["public"]) for each in certificates["certificates"]}
    for each in certificates["certificates"]:
        yield bytes.fromhex(each["encoded"]), ca
    for each in (*read(folder, "grants")["grants"], *read(folder, "objects")["objects"]):
        signed = bytes.fromhex(each["encoded"])
        yield signed, by_kid[kid_of(signed)]


def read(folder: Path, name: str) -> dict[str, Any]:
    """Return one vector file of protocols/grant."""
    document: dict[str, Any] = json.loads((folder / "grant" / f"{name}.json").read_text())
    return document


def kid_of(signed: bytes) -> bytes:
    """Return the 4-byte kid of a message of our profile: protected is always a2 01 26 04 44 kid."""
    if signed[:7] != bytes.fromhex("8449a201260444"):
        raise SystemExit(f"not of the profile: {signed.hex()}")
    return signed[7:11]


def key_of(point: bytes, kid: bytes) -> Any:
    """Return cwt's key of a compressed point."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cwt import COSEKey

    numbers = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point).public_numbers()
    x, y = (value.to_bytes(32, "big") for value in (numbers.x, numbers.y))
    return COSEKey.new({1: 2, 2: kid, 3: -7, -1: 1, -2: x, -3: y})


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make()
    else:
        sys.exit(check(Path(sys.argv[2])))
