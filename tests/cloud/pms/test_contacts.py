"""What a PMS tells of a guest's address and language, read as each of them writes it."""

import traceback
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.pms.cloudbeds.contacts import of_reservation
from cloud.pms.contacts import Contacts, address, contact, hidden
from cloud.pms.ezee.contacts import of_booking
from cloud.pms.languages import language
from cloud.pms.mews.contacts import of_customer, whose
from cloud.pms.ohip import contacts as ohip
from cloud.pms.port import Capabilities, GuestContact, PmsBusyError, PmsFaultError, PmsRefusedError
from cloud.pms.stayntouch import contacts as stayntouch
from protocols.errors import LinkLostError, PeerProtocolError

pytestmark = [pytest.mark.requirement("CHK-06"), pytest.mark.requirement("GST-01")]
LONG = "a" * 64 + "@" + ".".join(["b" * 61] * 3) + ".de"


def raw(told: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(told))


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("anna@guest.invalid", "anna@guest.invalid"),
        ("  Anna.B+x@Guest.INVALID \r\n", "Anna.B+x@guest.invalid"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("Anna <a@guest.invalid>", "a@guest.invalid"),
        ("no, b@guest.invalid; c@guest.invalid", "b@guest.invalid"),
        ("4f.relay-x@m.expediapartnercentral.example", "4f.relay-x@m.expediapartnercentral.example"),
        (LONG, LONG),
        ("a" + LONG, None),
        ("a" * 65 + "@guest.invalid", None),
        ("a@" + "b" * 64 + ".de", None),
        ("a@guest.invalid\nBcc: b@guest.invalid", None),
        ("a@guest.invalid\x00", None),
        ("a\u202eb@guest.invalid", None),
        ("a@guest.invalid b@guest.invalid", None),
        ("a@b@guest.invalid", None),
        ('"a b"@guest.invalid', None),
        ("ä@guest.invalid", None),
        (".a@guest.invalid", None),
        ("a..b@guest.invalid", None),
        ("a@guest", None),
        ("a@-guest.invalid", None),
        ("a@127.0.0.1", None),
        ("a@[127.0.0.1]", None),
        ("@guest.invalid", None),
        ("a@", None),
        ("", None),
        ("x" * 10_000, None),
        (";" * 900 + "a@guest.invalid", "a@guest.invalid"),
        ("anna@straße.invalid", None),
        ("anna@STRAßE.invalid; b@guest.invalid", "b@guest.invalid"),
        ("anna@βόλος.invalid", None),
        (None, None),
        (7, None),
        (["a@guest.invalid"], None),
    ],
)
@pytest.mark.guarantee("G19")
def test_an_address_is_one_mailbox_or_none(told: object, meant: str | None) -> None:
    assert address(told) == meant


MAILBOX = st.from_regex(r"[a-z]{1,5}@[a-z]{1,5}\.[a-z]{2,3}", fullmatch=True)
TOLD = st.lists(st.text(max_size=6) | MAILBOX | st.sampled_from("<>;,@. \r\n\t\"'()\u2028"), max_size=6).map("".join)


@given(told=TOLD)
@pytest.mark.guarantee("G19")
def test_whatever_is_told_an_address_fits_into_a_header_and_stays_what_it_is(told: str) -> None:
    found = address(told)
    if found is None:
        return
    assert found.isascii()
    assert found.count("@") == 1
    assert len(found) <= 254
    assert address(found) == found
    assert parseaddr(found) == ("", found)
    letter = EmailMessage()
    letter["To"] = found
    assert letter["To"] == found
    assert bytes(letter).count(b"\n") == 2, "one header and the line that ends them"


@given(before=st.sampled_from(["", " ", "Anna <", "none;"]), told=MAILBOX)
def test_a_plain_address_is_found_whatever_stands_before_it(before: str, told: str) -> None:
    assert address(before + told + (">" if before.endswith("<") else "")) == told


@pytest.mark.requirement("GST-06")
@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("de-DE", "de"),
        ("pt_BR", "pt"),
        ("zh-Hant-TW", "zh"),
        ("GER", "de"),
        ("deu", "de"),
        ("GE", "de"),
        ("SP", "es"),
        ("E", "en"),
        (" German ", "de"),
        ("Deutsch (Österreich)", "de"),
        ("English", "en"),
        ("français", "fr"),
        ("日本語", "ja"),
        ("Bahasa Indonesia", "id"),
        ("iw", "he"),
        ("nb-NO", "nb"),
        ("German Austria", "de"),
        ("de (AT)", "de"),
        ("en GB", "en"),
        ("no preference", None),
        ("In English", None),
        ("to be asked", None),
        ("Klingon", None),
        ("xx", None),
        ("X", None),
        ("", None),
        ("-", None),
        ("de" * 100, None),
        (None, None),
        (49, None),
    ],
)
def test_a_language_is_one_that_the_world_knows_or_none(told: object, meant: str | None) -> None:
    assert language(told) == meant


@given(told=st.text(max_size=80))
def test_whatever_is_told_a_language_is_two_letters_and_stays_what_it_is(told: str) -> None:
    found = language(told)
    assert found is None or (len(found) == 2 and found.isascii() and found.islower() and language(found) == found)


def test_the_first_that_is_one_is_taken_of_several() -> None:
    assert contact([None, "none", "a@x.de", "b@x.de"], ["", "GER", "en"]) == GuestContact("a@x.de", "de")


def test_a_contact_shows_itself_nowhere() -> None:
    assert repr(GuestContact("a@x.de", "de")) == "GuestContact()"


# Each vendor's own way


def test_of_mews_the_customer_it_is_for_counts_and_his_own_choice_of_a_language() -> None:
    rows = [raw({"Id": "r1", "AccountId": "c1", "AccountType": "Customer"}), raw({"Id": "r2", "AccountId": "c2"})]
    assert [whose(rows, each) for each in ("r1", "r2")] == ["c1", "c2"]
    assert whose([raw({"Id": "r3", "AccountId": "k1", "AccountType": "Company"})], "r3") is None
    with pytest.raises(PmsRefusedError) as unknown:
        whose(rows, "r9")
    assert unknown.value.status == 404
    with pytest.raises(PeerProtocolError, match="AccountId"):
        whose([raw({"Id": "r1", "AccountId": 7})], "r1")
    told = {"Id": "c1", "Email": "a@x.de", "LanguageCode": "en-US", "HasOtaEmail": True}
    assert of_customer([raw({"Id": "c9", "Email": "z@x.de"}), raw(told)], "c1") == GuestContact("a@x.de", "en")
    assert of_customer([raw({**told, "PreferredLanguageCode": "de-DE"})], "c1") == GuestContact("a@x.de", "de")
    assert of_customer([raw({**told, "PreferredLanguageCode": "?", "Email": ["a@x.de"]})], "c1").email is None
    assert of_customer([raw({"Email": "a@x.de"}), raw([])], "c1") == GuestContact(None, None)


def test_of_cloudbeds_the_main_guest_counts_and_nobody_who_was_made_anonymous() -> None:
    def read(**told: object) -> str | None:
        return of_reservation(raw({"reservationID": "R1", **told}), "R1", hotel="7").email

    main, other = {"guestEmail": "main@x.de", "isMainGuest": True}, {"guestEmail": "other@x.de"}
    assert read(guestEmail="a@x.de", guestList={"1": main}) == "a@x.de"
    assert read(guestEmail="", guestList={"2": other, "1": main}) == "main@x.de"
    assert read(guestList=[other]) == "other@x.de"
    assert read(guestList=[other, other]) is None, "whose it is, nobody says"
    assert read(guestList=[]) is None
    assert read(guestEmail="a@x.de", isAnonymized=True) is None
    assert read(guestList={"1": {**main, "isAnonymized": True}}) is None
    assert read(guestEmail="a@x.de", propertyID=7) == "a@x.de"
    with pytest.raises(PmsRefusedError) as elsewhere:
        read(guestEmail="a@x.de", propertyID="8")
    assert elsewhere.value.status == 404
    with pytest.raises(PeerProtocolError):
        of_reservation(raw(None), "R1", hotel="7")


def test_of_stayntouch_the_primary_guest_counts() -> None:
    second, first = {"id": 2, "language": "fr"}, {"id": 1, "is_primary": True, "language": "de"}
    assert stayntouch.primary({"id": 1, "guests": [second, first]}, "1", hotel="80") == first
    assert stayntouch.primary({"id": 1, "guests": [second]}, "1", hotel="80") == second
    assert stayntouch.primary({"id": "1", "guests": None, "hotel_id": 80}, "1", hotel="80") == {}
    with pytest.raises(PmsRefusedError) as elsewhere:
        stayntouch.primary({"id": 1, "guests": [first], "hotel_id": 81}, "1", hotel="80")
    assert elsewhere.value.status == 404
    assert [stayntouch.id_of(each) for each in (first, {}, {"id": "a b"})] == ["1", None, None]
    alone = {"id": 1, "email": "a@x.de", "language": None}
    assert stayntouch.alone(alone, "1") == alone
    with pytest.raises(PeerProtocolError):  # an error in 200 is nobody without an address
        stayntouch.alone({"message": "Something went wrong."}, "1")
    with pytest.raises(PeerProtocolError):
        stayntouch.primary({"message": "Something went wrong."}, "1", hotel="80")
    assert stayntouch.of_guest(alone, first) == GuestContact("a@x.de", "de")


def test_of_opera_the_primary_address_counts_wherever_it_stands() -> None:
    def info(email: str, **more: object) -> dict[str, Any]:
        return {"email": {"emailAddress": email, **more}}

    rows = [info("c@x.de", orderSequence=3), info("b@x.de", orderSequence=2), info("a@x.de", primaryInd=True)]
    details = {"emails": {"emailInfo": rows}, "customer": {"language": "E"}}
    assert ohip.of_guest({"profileDetails": details}) == GuestContact("a@x.de", "en")
    assert ohip.of_guest({"profileInfo": {"profile": details}}) == GuestContact("a@x.de", "en")
    assert ohip.of_guest({"profileDetails": {"emails": {"emailInfo": rows[:2]}}}).email == "b@x.de"
    broken = {"profileDetails": {"emails": {"emailInfo": [info("none", primaryInd=True), *rows[:1]]}}}
    assert ohip.of_guest(broken).email is None, "another one may be an old one"
    assert ohip.of_guest({"email": "flat@x.de", "language": "GER"}) == GuestContact("flat@x.de", "de")
    assert ohip.of_guest(ohip.profile(None), {"language": "fr"}) == GuestContact(None, "fr")
    assert ohip.profile({"profileDetails": details}) == {"profileDetails": details}
    with pytest.raises(PeerProtocolError):  # an error in 200 is nobody without an address
        ohip.profile({"title": "Error", "detail": "Something went wrong."})
    sharer, guest = {"profileInfo": 1}, {"primary": True, "profileInfo": {"profileIdList": [{"id": 5}]}}
    found = ohip.guest_of({"reservationGuests": [sharer, guest], "hotelId": "aurora"}, "1", hotel="AURORA")
    assert ohip.profile_of(found) == "5"
    assert ohip.profile_of({"profileIdList": [{"id": "C", "type": "Corporate"}, {"id": "", "type": "Profile"}]}) is None
    assert ohip.guest_of({"reservationGuest": {"email": "a@x.de"}}, "1", hotel="AURORA") == {"email": "a@x.de"}
    with pytest.raises(PmsRefusedError) as elsewhere:
        ohip.guest_of({"hotelId": "BOREALIS"}, "1", hotel="AURORA")
    assert elsewhere.value.status == 404


def test_of_ezee_each_room_of_a_booking_has_its_own_guest() -> None:
    def answer(tran: object, **more: object) -> dict[str, Any]:
        return {"Reservations": {"Reservation": [{"UniqueID": "12", "BookingTran": tran, **more}]}}

    rooms = [{"SubBookingId": "12-1", "Email": "a@x.de"}, {"SubBookingId": "12-2", "Email": "b@x.de"}]
    assert of_booking(answer(rooms), "12-2") == GuestContact("b@x.de", None)
    assert of_booking(answer({"SubBookingId": 12, "Email": ""}, Email="booker@x.de"), "12").email == "booker@x.de"
    assert of_booking(answer({"SubBookingId": "1", "Email": "a@x.de"}), "12~1").email == "a@x.de"
    for told, asked in ((answer(rooms), "12-3"), (answer(rooms), "13-1"), ({"Reservations": []}, "12-1")):
        with pytest.raises(PmsRefusedError) as unknown:
            of_booking(told, asked)
        assert unknown.value.status == 404
    with pytest.raises(PeerProtocolError):
        of_booking({}, "12")


# The way for callers


class _Saying:
    """A PMS that has one answer."""

    system = "mews"

    def __init__(self, error: Exception, *, contacts: bool = True) -> None:
        self._error = error
        self.asked = 0
        self.capabilities = Capabilities(
            pushes=False,
            changed_since=False,
            event_queue=False,
            writes=frozenset(),
            folio=False,
            contacts=contacts,
        )

    async def contact(self, external_id: str) -> GuestContact:
        self.asked += 1
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        PmsRefusedError(422, "guest 'anna@x.de' (Anna <anna@x.de>) is locked"),
        PmsFaultError("no such row: anna@x.de"),
        PeerProtocolError("`anna@x.de` is no id"),
    ],
)
async def test_no_error_of_theirs_tells_an_address(error: Exception) -> None:
    contacts = Contacts({("aurora", "mews"): _Saying(error)})  # type: ignore[dict-item]  # as much of an adapter as is asked
    with pytest.raises(type(error), match=r"\[address\]") as raised:
        await contacts.contact_of("aurora", "mews", "R1")
    assert "x.de" not in "".join(traceback.format_exception(raised.value))
    if isinstance(error, PmsRefusedError):
        assert isinstance(raised.value, PmsRefusedError)
        assert raised.value.status == 422


@pytest.mark.parametrize("error", [PmsBusyError(700), LinkLostError("no connection")])
async def test_what_says_when_to_ask_again_comes_as_it_is(error: Exception) -> None:
    contacts = Contacts({("aurora", "mews"): _Saying(error)})  # type: ignore[dict-item]  # as much of an adapter as is asked
    with pytest.raises(type(error)) as raised:
        await contacts.contact_of("aurora", "mews", "R1")
    assert raised.value is error


async def test_a_pms_that_tells_no_contacts_is_not_asked() -> None:
    silent = _Saying(PmsBusyError(1), contacts=False)
    assert await Contacts({("aurora", "mews"): silent}).contact_of("aurora", "mews", "R1") is None  # type: ignore[dict-item]  # as much of an adapter as is asked
    assert silent.asked == 0


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "told", ['"anna berger"@x.de', "anna.o'berger@x.de", "anna.berger%40x.de", "anna.berger\uff20x.de"]
)
def test_nothing_of_an_address_is_left_in_a_text_however_it_is_written(told: str) -> None:
    assert hidden(f"guest {told}: refused") == "guest [address]: refused"


def test_a_text_without_an_address_stays_as_it_is() -> None:
    assert hidden("reservation 12-1 is not there: 404") == "reservation 12-1 is not there: 404"
