"""Adverts against the vectors that their makers published, and against noise; messages of gateways."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.descriptors import adverts, gateway
from protocols.descriptors.codec import Reason
from protocols.errors import PeerProtocolError

VECTORS: Final[list[dict[str, Any]]] = json.loads(
    (Path(adverts.__file__).parents[1] / "vectors" / "descriptors" / "adverts.json").read_text()
)["adverts"]
ENCODINGS: Final = sorted({vector["encoding"] for vector in VECTORS})


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_an_advert_says_what_the_vector_says(vector: dict[str, Any]) -> None:
    key = bytes.fromhex(vector["key"]) if "key" in vector else None
    said = adverts.decode(vector["encoding"], bytes.fromhex(vector["advert"]), mac=vector.get("mac", ""), key=key)
    assert said == (Reason(vector["reason"]) if "reason" in vector else vector["fields"])


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
def test_no_advert_raises(encoding: str, data: st.DataObject) -> None:
    heads = [bytes.fromhex(each["advert"]) for each in VECTORS if each["encoding"] == encoding]
    head = data.draw(st.sampled_from(heads))
    cut = head[: data.draw(st.integers(0, len(head)))] + data.draw(st.binary(max_size=40))
    for advert in (cut, data.draw(st.binary(max_size=60))):
        for key, mac in ((None, ""), (bytes(16), "a4:c1:38:0b:5e:ed"), (bytes(16), "")):
            said = adverts.decode(encoding, advert, mac=mac, key=key)
            assert said is None or isinstance(said, Reason | dict)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_same_advert_comes_through_a_gateway(vector: dict[str, Any]) -> None:
    advert = bytes.fromhex(vector["advert"])
    payload = gateway.message(advert, gateway="c4:7d:cc:00:11:22", rssi_dbm=-61, at_s=1_780_000_000)
    heard = gateway.read("ruuvi", "ruuvi/C4:7D:CC:00:11:22/CB:B8:33:4C:88:4F", payload)
    assert heard == gateway.Heard("c4:7d:cc:00:11:22", "cb:b8:33:4c:88:4f", advert, -61, 1_780_000_000)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [("ruuvi/gw/gw_status", b"{}"), ("ruuvi/x", b"{}"), ("other/x/cb:b8:33:4c:88:4f", b"{}")],
)
def test_what_is_no_advert_says_nothing(topic: str, payload: bytes) -> None:
    assert gateway.read("ruuvi", topic, payload) is None


@pytest.mark.guarantee("G19")
@given(payload=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_noise_from_a_gateway_is_the_gateways_error(payload: bytes) -> None:
    with pytest.raises(PeerProtocolError, match=r"advert"):
        gateway.read("ruuvi", "ruuvi/gw/cb:b8:33:4c:88:4f", payload)


def test_too_much_is_not_read() -> None:
    with pytest.raises(PeerProtocolError, match="bytes"):
        gateway.read("ruuvi", "ruuvi/gw/cb:b8:33:4c:88:4f", b'{"data":"' + b"00" * 5_000 + b'"}')
    assert adverts.decode("ruuvi_5", bytes(2_000)) is Reason.TOO_LONG
