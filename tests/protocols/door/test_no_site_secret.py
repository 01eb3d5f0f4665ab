"""What a thief finds in an opened lock is that lock's alone: nothing of the property's that signs, reads or opens."""

import json

import pytest

from kit.dice import SystemDice
from protocols.door.identity import generate_lock_for
from protocols.door.lock_core import LockCore
from protocols.grant.keys import generate_property_ca
from protocols.vectors.fixed import Meeting, fixed_hotel, fresh_core

SECRETS = ("static_private", "eik_root", "audit_private")


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P21")
def test_two_locks_of_one_house_share_what_is_public_and_nothing_else() -> None:
    dice = SystemDice()
    ca = generate_property_ca("aurora", dice.bytes)
    documents = [generate_lock_for(ca, dice.bytes, room=room).to_document() for room in (101, 102, 101)]
    private = {str(text) for name, text in ca.to_document().items() if name.endswith("_private")}
    assert len(private) == 2
    for document in documents:
        assert not any(text in json.dumps(document) for text in private)
        assert {name for name in document if name not in SECRETS} == {
            *("v", "lock", "room", "zones"),
            *("ca_public", "seal_public"),
        }
    for name in SECRETS:
        found = {document[name] for document in documents}
        assert len(found) == len(documents), f"{name}: none is a default, none is the house's"


@pytest.mark.requirement("P21")
def test_what_a_lock_remembers_of_its_guests_is_no_key_of_theirs() -> None:
    hotel = fixed_hotel()
    meeting = Meeting(hotel.room_101, fresh_core(hotel.room_101))
    meeting.run(hotel.unlock())
    kept = meeting.core.encode()
    assert LockCore.decode(kept).generation == meeting.core.generation
    scalars = [key.private_numbers().private_value.to_bytes(32, "big") for key in (hotel.phone, hotel.guest.key)]
    assert not any(scalar in kept for scalar in scalars)
    assert hotel.unlock().grant not in kept, "a grant is judged and forgotten: its id and number are kept"
