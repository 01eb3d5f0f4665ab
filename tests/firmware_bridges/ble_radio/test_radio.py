"""Adverts that the radio reads by itself: the same facts as bumble's, of every packet; the rest is left to bumble."""

from bumble import hci
from bumble.device import Advertisement
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges.ble_radio.radio import one_report


def a_packet(event: int, kind: int, address: bytes, payload: bytes, rssi: int) -> bytes:
    report = bytes([event, kind]) + address + bytes([len(payload)]) + payload + rssi.to_bytes(1, "little", signed=True)
    return bytes([0x04, 0x3E, len(report) + 2, 0x02, 1]) + report


@given(
    event=st.integers(0, 3),
    kind=st.integers(0, 3),
    address=st.binary(min_size=6, max_size=6),
    payload=st.binary(max_size=31),
    rssi=st.integers(-127, 20),
)
def test_an_advert_reads_as_bumble_reads_it(event: int, kind: int, address: bytes, payload: bytes, rssi: int) -> None:
    packet = a_packet(event, kind, address, payload, rssi)
    theirs = hci.HCI_Packet.from_bytes(packet)
    assert isinstance(theirs, hci.HCI_LE_Advertising_Report_Event)
    advert = Advertisement.from_advertising_report(theirs.reports[0])
    assert advert is not None
    ours = one_report(packet)
    assert ours is not None
    assert ours.address == advert.address.to_string(with_type_qualifier=False)
    assert (ours.rssi, ours.data_bytes) == (advert.rssi, advert.data_bytes)


@given(packet=st.binary(max_size=60), cut=st.integers(0, 45), tail=st.binary(min_size=1, max_size=3))
def test_what_is_not_one_whole_advert_is_left_to_bumble(packet: bytes, cut: int, tail: bytes) -> None:
    whole = a_packet(0, 1, bytes(6), bytes(31), -40)
    assert one_report(whole) is not None
    assert one_report(whole[:cut]) is None
    assert one_report(whole + tail) is None
    assert one_report(a_packet(4, 1, bytes(6), b"", 0)) is None  # an answer to a scan: bumble joins it to its advert
    assert one_report(bytes([0x04, 0x3E, 2, 0x02, 0])) is None
    if packet[:2] != b"\x04\x3e":
        assert one_report(packet) is None
