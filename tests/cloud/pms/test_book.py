"""A hotel's book: what the PMS said before it was killed is what it says after."""

from pathlib import Path

import pytest

from cloud.pms.emulation.book import Book
from cloud.pms.emulation.hotel import DAY_MS, Forbidden, Hotel, Missing
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.errors import InvalidInputError, StoreFailedError
from tests.seeds import seeds

NOW_MS = 1_780_000_000_000


def _opened(path: Path) -> Hotel:
    """As the emulator's process begins."""
    book = Book(SystemDisk(), path)
    hotel = Hotel(dice=SeededDice(1 + 1_000_003 * book.lives), now_ms=lambda: NOW_MS, rooms=["101", "102"])
    book.keep(hotel)
    return hotel


def _all(hotel: Hotel) -> tuple[object, ...]:
    return hotel.reservations, hotel.resources, hotel.customers


@pytest.mark.parametrize("seed", seeds(3, 40))
def test_a_hotel_that_is_killed_after_any_change_is_as_it_was(seed: int, tmp_path: Path) -> None:
    dice, path = SeededDice(seed), tmp_path / "pms.json"
    hotel, told = _opened(path), 0

    def tell(_kind: str, changed_id: str) -> None:
        nonlocal told
        told += 1
        assert changed_id.encode() in path.read_bytes()  # written before anybody hears of it

    hotel.changed = tell
    made: list[str] = []
    for _ in range(40):
        try:
            match dice.integer(0, 5):
                case 0:
                    room = dice.choice(("101", "102", None))
                    added = hotel.add(
                        room=room, start_ms=NOW_MS - 1, end_ms=NOW_MS + DAY_MS, first_name=None, last_name="Żółć"
                    )
                    assert added.id not in made
                    made.append(added.id)
                case 1 if made:
                    hotel.start(dice.choice(made))
                case 2 if made:
                    hotel.process(dice.choice(made))
                case 3 if made:
                    hotel.charge(dice.choice(made), "Minibar", 450)
                case 4 if made:
                    hotel.update(dice.choice(made), room="102")
                case _:
                    hotel.set_room_state("101", dice.choice(("Dirty", "Inspected")))
        except (Forbidden, Missing):
            pass
        if dice.uniform(0, 1) < 0.3:
            before, hotel = hotel, _opened(path)
            assert _all(hotel) == _all(before)
            assert [hotel.history(each) for each in made] == [before.history(each) for each in made]
            hotel.changed = tell
    assert list(hotel.reservations) == made
    assert told


@pytest.mark.parametrize(
    ("text", "says"), [("{", "is not a hotel's book"), ("[]", "is not a hotel's book"), ('{"v":1}', "lives")]
)
def test_a_file_that_is_no_book_is_refused_by_name_and_left_alone(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "pms.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=says) as refused:
        Book(SystemDisk(), path)
    assert str(path) in str(refused.value)
    assert path.read_text() == text


def test_a_book_of_another_format_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "pms.json"
    _opened(path)
    path.write_text(path.read_text().replace('"v":1', '"v":2'))
    with pytest.raises(InvalidInputError, match="format 2"):
        Book(SystemDisk(), path)


def test_a_book_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(StoreFailedError, match="cannot be read"):
        Book(SystemDisk(), tmp_path)
