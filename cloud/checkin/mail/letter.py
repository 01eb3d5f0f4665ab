"""A letter's words and form, in the languages of the guest's page: plain text, and the same as simple HTML. Pure.

It names the house, the day of arrival and the link: not the guest, and not his room. What a name holds stays text, in a
header and in HTML alike.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from typing import Final

from cloud.checkin.letters import LetterKind

NAME_CHARACTERS_MOST: Final = 80
_QUOTED: Final = str.maketrans(dict.fromkeys('"(),.:;<>@[\\]', " "))
"""What a sender's name holds only between quotes (RFC 5322, 3.2.3): `email` loses the quotes of one that it folds."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a letter says. The times are in the house's zone."""

    letter: str
    kind: LetterKind
    house: str
    arrives: datetime
    holds_until: datetime
    links: tuple[str, ...]
    """One for each room of the guest."""
    language: str
    is_moved: bool = False
    """The guest may know another day of arrival."""


@dataclass(frozen=True, slots=True)
class _Words:
    months: tuple[str, ...]
    day: str
    invitation: tuple[str, str, str]
    """Subject, what it is about, what the link does."""
    moved: tuple[str, str, str]
    room_ready: tuple[str, str, str]
    holds: str
    yours: str
    several: tuple[str, str, str]
    """Of several rooms: what stands before the links, and `holds` and `yours` of them all."""
    right_to_left: bool = False


def _months(names: str) -> tuple[str, ...]:
    return tuple(names.split())


WORDS: Final = {
    "en": _Words(
        _months("January February March April May June July August September October November December"),
        "{day} {month} {year}",
        (
            "{house}: check in before you arrive",
            "We look forward to your stay at {house} from {arrival}.",
            "You can check in now, on your phone:",
        ),
        (
            "{house}: your new day of arrival",
            "Your stay at {house} now begins on {arrival}.",
            "You can check in on your phone, before you arrive:",
        ),
        (
            "{house}: your room is ready",
            "Your room at {house} is ready.",
            "Finish your check-in and get your key here:",
        ),
        "The link holds until {until}, local time.",
        "The link is for you alone: please pass this message to nobody. The front desk is happy to help.",
        (
            "Each of your {count} rooms has a link of its own.",
            "The links hold until {until}, local time.",
            "The links are for you alone: please pass this message to nobody. The front desk is happy to help.",
        ),
    ),
    "de": _Words(
        _months("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
        "{day}. {month} {year}",
        (
            "{house}: vor der Ankunft einchecken",
            "Wir freuen uns auf Ihren Aufenthalt ab {arrival}: {house}.",
            "Sie können jetzt mit Ihrem Telefon einchecken:",
        ),
        (
            "{house}: Ihr neuer Anreisetag",
            "Ihr Aufenthalt beginnt jetzt am {arrival}: {house}.",
            "Sie können vor der Ankunft mit Ihrem Telefon einchecken:",
        ),
        (
            "{house}: Ihr Zimmer ist fertig",
            "Ihr Zimmer ist fertig: {house}.",
            "Hier schließen Sie den Check-in ab und erhalten Ihren Schlüssel:",
        ),
        "Der Link gilt bis {until} Ortszeit.",
        "Der Link ist nur für Sie: Bitte geben Sie diese Nachricht nicht weiter. Die Rezeption hilft gern.",
        (
            "Jedes Ihrer {count} Zimmer hat einen eigenen Link.",
            "Die Links gelten bis {until} Ortszeit.",
            "Die Links sind nur für Sie: Bitte geben Sie diese Nachricht nicht weiter. Die Rezeption hilft gern.",
        ),
    ),
    "fr": _Words(
        _months("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
        "{day} {month} {year}",
        (
            "{house} : enregistrez-vous avant votre arrivée",
            "Nous nous réjouissons de votre séjour à partir du {arrival} : {house}.",
            "Vous pouvez vous enregistrer dès maintenant avec votre téléphone :",
        ),
        (
            "{house} : votre nouveau jour d’arrivée",
            "Votre séjour commence désormais le {arrival} : {house}.",
            "Vous pouvez vous enregistrer avec votre téléphone avant votre arrivée :",
        ),
        (
            "{house} : votre chambre est prête",
            "Votre chambre est prête : {house}.",
            "Terminez votre enregistrement et recevez votre clé ici :",
        ),
        "Le lien est valable jusqu’au {until}, heure locale.",
        "Ce lien est pour vous seul : ne transmettez ce message à personne. La réception vous aide volontiers.",
        (
            "Chacune de vos {count} chambres a son propre lien.",
            "Les liens sont valables jusqu’au {until}, heure locale.",
            "Ces liens sont pour vous seul : ne transmettez ce message à personne. La réception vous aide volontiers.",
        ),
    ),
    "es": _Words(
        _months("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"),
        "{day} de {month} de {year}",
        (
            "{house}: regístrese antes de llegar",
            "Le esperamos a partir del {arrival}: {house}.",
            "Ya puede registrarse con su teléfono:",
        ),
        (
            "{house}: su nuevo día de llegada",
            "Su estancia empieza ahora el {arrival}: {house}.",
            "Puede registrarse con su teléfono antes de llegar:",
        ),
        (
            "{house}: su habitación está lista",
            "Su habitación está lista: {house}.",
            "Termine aquí su registro y reciba su llave:",
        ),
        "El enlace es válido hasta el {until}, hora local.",
        "El enlace es solo para usted: no reenvíe este mensaje a nadie. En recepción le ayudamos con mucho gusto.",
        (
            "Cada una de sus {count} habitaciones tiene su propio enlace.",
            "Los enlaces son válidos hasta el {until}, hora local.",
            "Los enlaces son solo para usted: no reenvíe este mensaje a nadie. En recepción le ayudamos con gusto.",
        ),
    ),
    "ar": _Words(
        _months("يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر"),
        "{day} {month} {year}",
        (
            "{house}: سجّل وصولك قبل أن تأتي",
            "يسعدنا استقبالك ابتداءً من {arrival}: {house}.",
            "يمكنك تسجيل الوصول الآن بهاتفك:",
        ),
        (
            "{house}: يوم وصولك الجديد",
            "تبدأ إقامتك الآن في {arrival}: {house}.",
            "يمكنك تسجيل الوصول بهاتفك قبل أن تأتي:",
        ),
        (
            "{house}: غرفتك جاهزة",
            "غرفتك جاهزة: {house}.",
            "أكمل تسجيل الوصول واحصل على مفتاحك هنا:",
        ),
        "الرابط صالح حتى {until} بالتوقيت المحلي.",
        "الرابط لك وحدك: يُرجى عدم إرسال هذه الرسالة إلى أحد. مكتب الاستقبال في خدمتك.",
        (
            "لكل غرفة من غرفك رابط خاص بها. عدد الغرف: {count}.",
            "الروابط صالحة حتى {until} بالتوقيت المحلي.",
            "الروابط لك وحدك: يُرجى عدم إرسال هذه الرسالة إلى أحد. مكتب الاستقبال في خدمتك.",
        ),
        right_to_left=True,
    ),
}  # fmt: skip


def compose(written: Written, *, sender: str, to: str, now_ms: int) -> EmailMessage:
    """Return the message. The same letter always has the same Message-ID, by which a mailbox knows a second one.

    `sender` and `to` are addresses (`is_address`).
    """
    language = written.language if written.language in WORDS else "en"
    words, house = WORDS[language], shown(written.house)
    subject, about, act = words.invitation if written.kind is LetterKind.INVITATION else words.room_ready
    if written.kind is LetterKind.INVITATION and written.is_moved:
        subject, about, act = words.moved
    said = {
        "house": house,
        "arrival": _day(words, written.arrives.date()),
        "until": f"{_day(words, written.holds_until.date())}, {written.holds_until:%H:%M}",
        "count": len(written.links),
    }
    before, behind = [about, act], [words.holds, words.yours]
    if len(written.links) > 1:
        before, behind = [about, words.several[0], act], list(words.several[1:])
    lines = [
        *(each.format(**said) for each in before),
        *written.links,
        *(each.format(**said) for each in behind),
        house,
    ]
    ours = Address(addr_spec=sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(shown(house.translate(_QUOTED)), ours.username, ours.domain)
    message["To"] = Address(addr_spec=to)
    message["Subject"] = subject.format(**said)
    message["Message-ID"] = f"<{written.letter}@{ours.domain}>"
    message["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1_000, UTC))
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(lines) + "\n")
    message.add_alternative(_html(language, house, lines, written.links), subtype="html")
    message["Content-Language"] = language  # last: what a message says of its content goes with its first part
    return message


def is_address(text: str) -> bool:
    """Tell whether a text is one address, which a header holds as it is."""
    try:
        return str(Address(addr_spec=text)) == text and text.isprintable()
    except (ValueError, IndexError, MessageError):
        return False


def shown(name: str) -> str:
    """Return a name as one line of what can be seen, and not too much of it."""
    plain = "".join(each if each.isprintable() else " " for each in name)
    plain = plain.replace("=?", " ").replace("?=", " ")  # `email` would read encoded words, and what they hide
    return " ".join(plain.split())[:NAME_CHARACTERS_MOST] or "Hotel"


def _html(language: str, house: str, lines: list[str], links: tuple[str, ...]) -> str:
    said = [f'<a href="{escape(each)}">{escape(each)}</a>' if each in links else escape(each) for each in lines]
    paragraphs = "".join(f"<p>{each}</p>" for each in said)
    direction = "rtl" if WORDS[language].right_to_left else "ltr"
    return (
        f'<!doctype html><html lang="{language}" dir="{direction}"><head><meta charset="utf-8">'
        f"<title>{escape(house)}</title></head><body>{paragraphs}</body></html>\n"
    )


def _day(words: _Words, day: date) -> str:
    return words.day.format(day=day.day, month=words.months[day.month - 1], year=day.year)
