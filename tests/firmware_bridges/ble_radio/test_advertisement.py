"""Adverts come from strangers: whole structures are read, broken ones end or skip, nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges.ble_radio.advertisement import Payload, decode, remembered, structures, uuid_text

EDDYSTONE = bytes.fromhex("0201060303aafe1516aafe00e7edd1ebeac04e5defa017000000000001")  # its specification's example


def test_a_known_frame_is_read() -> None:
    seen = decode(EDDYSTONE)
    uuid = "0000feaa-0000-1000-8000-00805f9b34fb"
    assert seen.service_uuids == [uuid]
    assert seen.service_data[uuid][:2] == bytes.fromhex("00e7")


@pytest.mark.parametrize(
    ("payload", "seen"),
    [
        ("", Payload()),
        ("0409616263", Payload(local_name="abc")),
        ("020a0c", Payload(tx_power_dbm=12)),
        ("020af4", Payload(tx_power_dbm=-12)),
        ("03020d18", Payload(service_uuids=["0000180d-0000-1000-8000-00805f9b34fb"])),
        ("05ffe0000102", Payload(manufacturer_data={0x00E0: b"\x01\x02"})),
        (
            "1107ab8967452301" + "0a9d6e4cf45201003b7a",
            Payload(service_uuids=["7a3b0001-52f4-4c6e-9d0a-0123456789ab"]),
        ),
        ("0409616263" + "00" + "0409646566", Payload(local_name="abc")),  # a zero length ends it
        ("0409616263" + "0916", Payload(local_name="abc")),  # runs over the end
        ("0216aa", Payload()),  # too short for its UUID
        ("02ffe0", Payload()),
        ("0408616263" + "020978", Payload(local_name="x")),  # the complete name beats the shortened one
        ("020978" + "0408616263", Payload(local_name="x")),
        ("0209ff", Payload(local_name="�")),
    ],
)
def test_structures(payload: str, seen: Payload) -> None:
    assert decode(bytes.fromhex(payload)) == seen


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=6))
def test_whole_structures_come_back_as_they_went_in(parts: list[tuple[int, bytes]]) -> None:
    payload = b"".join(bytes([len(data) + 1, kind]) + data for kind, data in parts)
    assert list(structures(payload)) == parts


@given(st.binary(max_size=300))
def test_noise_raises_nothing_and_never_reads_past_the_end(payload: bytes) -> None:
    decode(payload)
    assert sum(2 + len(data) for _, data in structures(payload)) <= len(payload)


@given(st.lists(st.binary(max_size=31), max_size=8))
def test_what_is_remembered_is_what_was_read(payloads: list[bytes]) -> None:
    assert [remembered(each) for each in payloads * 2] == [decode(each) for each in payloads * 2]


def test_short_uuids_are_written_long() -> None:
    assert uuid_text(bytes.fromhex("99fd")) == "0000fd99-0000-1000-8000-00805f9b34fb"
    assert uuid_text(bytes.fromhex("78563412")) == "12345678-0000-1000-8000-00805f9b34fb"
