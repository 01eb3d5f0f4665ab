"""What the check-in routes take and answer. Times as in schema.py; nothing personal is answered to a guest's link."""

from typing import Annotated, Any, Literal

import msgspec

from cloud.checkin.steps import StepState
from cloud.payments.payments import Deposit
from protocols.policy.check_in import StepKind

Slot = Annotated[str, msgspec.Meta(pattern=r"^g([1-9]|1[0-9]|20)(?![\s\S])")]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}(?![\s\S])")]
Reason = Annotated[str, msgspec.Meta(min_length=3, max_length=300)]


class BeginRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Begin a session, or go on with it: where the guest is, and in which language."""

    channel: Literal["web", "kiosk", "desk"] = "web"
    language: Language = "en"


class DocumentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine readable zone of a travel document, typed or read elsewhere; lines may be divided by line feeds."""

    mrz: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class SignatureRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The guest's full name, typed, under the registration card."""

    signed_as: Annotated[str, msgspec.Meta(min_length=1, max_length=161)]


class TermsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version of the terms is accepted, and which text of it was shown: null where there is none to show.

    `language` may be left out where no other language of the version has the same text.
    """

    version: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")] | None = None
    language: Language | None = None


class TermsText(msgspec.Struct, frozen=True):
    """The terms as they are shown to be accepted; `text` null: the front desk has this version on paper.

    Paragraphs are divided by empty lines. `languages` are all that this version is written in.
    """

    version: str
    language: str | None
    languages: list[str]
    text: str | None
    sha256: str | None


class TermsPublication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text of the terms, plain: paragraphs divided by empty lines."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=60_000)]


class TermsLanguage(msgspec.Struct, frozen=True):
    """A language that a version is written in, by whom and since when; `sha256` names the text."""

    language: str
    sha256: str
    made_by: str
    made_at: str


class TermsVersion(msgspec.Struct, frozen=True):
    """A version of the terms."""

    version: str
    languages: list[TermsLanguage]


class TermsVersions(msgspec.Struct, frozen=True):
    """Every version, the newest first; `in_force` is what check-ins that begin now ask for, null: for none."""

    in_force: str | None
    versions: list[TermsVersion]


class HelpRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the guest needs staff for."""

    reason: Reason


class StayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One more room of the same party."""

    stay: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class WaiverRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step that staff does, or lets go, in the guest's place; `subject` is a guest's slot or `party`."""

    step: StepKind
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    reason: Reason


class GuestLink(msgspec.Struct, frozen=True):
    """A link for one guest to one stay. The token is shown this once; `path` is the guest's page with it."""

    token: str
    path: str
    expires_at: str


class KeyTerm(msgspec.Struct, frozen=True):
    """Until when a stay is booked; a phone whose key ends sooner asks for it anew."""

    ends_at: str


class Step(msgspec.Struct, frozen=True):
    """One step; `subject` is a guest's slot, a stay, or `party`."""

    step: StepKind
    subject: str
    state: StepState
    reason: str | None


class GuestSlot(msgspec.Struct, frozen=True):
    """One of the party, and whether he has said who he is."""

    slot: str
    told: bool


class DepositStanding(msgspec.Struct, frozen=True):
    """How the deposit stands: `state` and `failure` of the newest payment for it, null before there was one.

    `by_page`: the guest can pay on a page of the payment provider; else the front desk takes it.
    """

    held: bool
    by_page: bool
    state: str | None
    failure: str | None


def standing_of(deposit: Deposit) -> DepositStanding:
    """Return a deposit's standing as it is answered."""
    state = None if deposit.state is None else deposit.state.value
    return DepositStanding(deposit.held, deposit.by_page, state, deposit.failure)


class Session(msgspec.Struct, frozen=True):
    """A check-in session as it stands; `state`: open, completed or expired. `next` is what the guest does next.

    `house`, `arrives_at` and `leaves_at` (of the stay asked for, to be shown in `zone`) say which booking this is; it
    names nobody. `waits_for` says what the guest can only wait for: `room` until it is ready, `staff` while a step
    needs them.
    """

    id: str
    house: str
    zone: str
    arrives_at: str
    leaves_at: str
    state: str
    stays: list[str]
    channel: str
    language: str
    policy_version: int
    terms: str | None
    deposit: dict[str, Any] | None
    deposit_standing: DepositStanding | None
    steps: list[Step]
    guests: list[GuestSlot]
    next: Step | None
    waits_for: Literal["room", "staff"] | None
    help_asked_at: str | None
    began_at: str
    expires_at: str


class HandOver(msgspec.Struct, frozen=True):
    """A check-in that waits for staff since then; `asked` is what the guest wrote, null if he did not ask.

    `went_on_at`: when he last did a step himself after he had asked; null: he did not.
    """

    session: str
    stay: str
    guest_name: str
    room: str | None
    channel: str
    since: str
    asked: str | None
    went_on_at: str | None
    steps: list[Step]


class HandOvers(msgspec.Struct, frozen=True):
    """The desk's queue, who waits longest first, who went on after he had asked last; at most 200."""

    hand_overs: list[HandOver]


class Evidence(msgspec.Struct, frozen=True):
    """Who did a step, where, when, and what was found."""

    step: str
    subject: str
    state: str
    actor: str
    channel: str
    at: str
    evidence: dict[str, Any]
    reason: str | None


class Person(msgspec.Struct, frozen=True):
    """A guest as staff may see him while the record is kept; `document` null: none was read."""

    slot: str
    surname: str
    given_names: str
    birth_date: str | None
    nationality: str | None
    birth_state: str | None
    address: str | None
    document: dict[str, Any] | None


class People(msgspec.Struct, frozen=True):
    """Everybody of a session, and its evidence."""

    people: list[Person]
    evidence: list[Evidence]


class NotReported(msgspec.Struct, frozen=True):
    """A guest who is not in the file, and what to do about it."""

    stay: str
    slot: str
    problem: str


class DayReport(msgspec.Struct, frozen=True):
    """The report of one day's arrivals for the authority. `unknown`: stays of whose guests nothing is kept here."""

    reporter: str
    day: str
    due_at: str | None
    guests: int
    file: str
    missing: list[NotReported]
    unknown: list[str]
