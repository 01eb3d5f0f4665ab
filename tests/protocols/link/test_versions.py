"""Edge and cloud updated in either order: neighbours agree, strangers are refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import cbor
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import PeerProtocolError, UnsupportedVersionError
from protocols.link.batch import parse_batch
from protocols.link.lanes import Lane
from protocols.link.messages import Ack, AckMark, AckStatus, Hello, decode_ack, decode_hello, encode_ack, encode_hello
from protocols.link.versions import VERSION, agree

HELLO = Hello((VERSION,), EdgeId("e-aurora0000000001"), PropertyId("aurora"), 7, (), 1_700_000_000_000)


def speaks(release: int) -> tuple[int, ...]:
    """What a release speaks: its own version and the one before."""
    return tuple(each for each in (release - 1, release) if each >= 1)


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize(("edge", "cloud"), [(v, w) for v in range(1, 6) for w in range(1, 6)])
def test_neighbours_agree_on_the_older_one_and_all_others_are_refused_by_name(edge: int, cloud: int) -> None:
    if abs(edge - cloud) <= 1:
        assert agree(speaks(edge), ours=speaks(cloud)) == agree(speaks(cloud), ours=speaks(edge)) == min(edge, cloud)
        return
    with pytest.raises(UnsupportedVersionError) as caught:
        agree(speaks(edge), ours=speaks(cloud))
    assert str(list(speaks(edge))) in str(caught.value)
    assert ", ".join(map(str, speaks(cloud))) in str(caught.value)


@given(st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none(), st.booleans(), st.floats()), max_size=40))
def test_what_is_offered_may_be_anything(offered: list[object]) -> None:
    try:
        assert agree(offered) == VERSION
    except UnsupportedVersionError:
        assert VERSION not in [each for each in offered if type(each) is int][:16]


def hello(**changed: object) -> bytes:
    value = cbor.decode(encode_hello(HELLO), 4_096)
    assert isinstance(value, dict)
    whole: dict[str, object] = {str(key): each for key, each in value.items()}
    return cbor.encode(whole | changed)


def test_a_hello_of_the_next_release_is_taken_with_all_that_is_new_in_it() -> None:
    taken = decode_hello(hello(v=[VERSION, VERSION + 1], colour="blue", more=[1]))
    assert (taken.versions, agree(taken.versions), taken.edge) == ((VERSION, VERSION + 1), VERSION, HELLO.edge)


@pytest.mark.parametrize("offered", [[VERSION + 1, VERSION + 2], [], [True], ["1"], [0]])
def test_a_hello_that_shares_no_version_is_refused_by_name_whatever_else_it_is(offered: list[object]) -> None:
    for payload in (hello(v=offered), cbor.encode({"v": offered, "other": 1})):
        with pytest.raises(UnsupportedVersionError, match="link version"):
            decode_hello(payload)


@pytest.mark.parametrize("payload", [b"\xa1avv", cbor.encode({"v": 1}), cbor.encode({}), cbor.encode({"v": [VERSION]})])
def test_what_is_no_hello_is_a_peer_error(payload: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        decode_hello(payload)


@pytest.mark.parametrize("key", ["colour", "spread_t", "zz"])
def test_an_ack_of_the_next_release_is_taken_with_all_that_is_new_in_it(key: str) -> None:
    """A cloud that says more than this edge knows, as one with `spread_s` did to edges before it."""
    ack = Ack(AckStatus.STORED, (AckMark(bytes(16), Lane.B, 4),), spread_s=30)
    value = cbor.decode(encode_ack(ack), 4_096)
    assert isinstance(value, dict)
    assert decode_ack(cbor.encode({str(name): each for name, each in value.items()} | {key: [1]})) == ack


def test_a_cloud_that_knows_no_spread_says_none() -> None:
    ack = Ack(AckStatus.STORED, (AckMark(bytes(16), Lane.B, 4),))
    assert b"spread_s" not in encode_ack(ack)
    assert decode_ack(encode_ack(ack)).spread_s == 0


@pytest.mark.parametrize("spread", [-1, 301, True, "30", 2**63])
def test_a_spread_that_is_none_is_refused(spread: object) -> None:
    with pytest.raises(PeerProtocolError, match="spread_s"):
        decode_ack(cbor.encode({"v": VERSION, "status": "stored", "marks": [], "spread_s": spread}))


@pytest.mark.parametrize("version", [VERSION + 1, 0, True, "1", None, [1]])
def test_a_batch_and_an_ack_of_another_version_are_refused_by_name(version: object) -> None:
    for read in (parse_batch, decode_ack):
        with pytest.raises(UnsupportedVersionError):
            read(cbor.encode({"v": version, "new": "form"}))
