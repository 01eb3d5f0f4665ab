"""Letters by SMTP against a mail server with bad manners: what is known of a letter afterwards is true."""

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from cloud.checkin.mail.emulator import MailServer, Manner
from cloud.checkin.mail.port import Outcome
from cloud.checkin.mail.smtp import Account, SmtpMail
from provisioning.pki.development_ca import DevelopmentAuthority

pytestmark = pytest.mark.requirement("CHK-06")

TO = "anna@guests.example"
USER = ("innkeeper", "not a secret")


class Post:
    """A server's and our trust in it."""

    def __init__(self, folder: Path) -> None:
        authority = DevelopmentAuthority(folder / "ours", name="mail authority", now=datetime.now(UTC))
        files = authority.server("mail-server")
        self.serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.serves.load_cert_chain(files.certificate, files.private_key)
        self.trusts = ssl.create_default_context(cafile=files.authority)
        other = DevelopmentAuthority(folder / "theirs", name="another authority", now=datetime.now(UTC))
        self.trusts_others = ssl.create_default_context(cafile=other.certificate_path)


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Post:
    return Post(tmp_path_factory.mktemp("mail"))


@pytest.fixture
async def server(post: Post) -> AsyncIterator[MailServer]:
    async with MailServer(tls=post.serves, credentials=USER) as house:
        yield house


def letter(text: str = "Good evening.\n.\n..dots\n") -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"], message["Subject"] = "<le-1@hotel.example>", "Wilkommen, José"
    message.set_content(text)
    return message


def mail(server: MailServer, trust: ssl.SSLContext, *, waits_s: float = 5.0, **changes: object) -> SmtpMail:
    account = {"host": "127.0.0.1", "port": server.port, "sender": "desk@hotel.example", "username": USER[0],
               "password": USER[1], **changes}  # fmt: skip
    return SmtpMail(Account(**account), tls=trust, step_s=waits_s, whole_s=waits_s)  # type: ignore[arg-type]  # changes by name


async def test_a_letter_is_taken_whole_encrypted_and_by_who_may(server: MailServer, post: Post) -> None:
    told = await mail(server, post.trusts).send(letter(), to=TO)
    assert (told.outcome, told.answer) == (Outcome.TAKEN, "250")
    [taken] = server.taken
    assert (taken.sender, taken.to, taken.user, taken.encrypted) == ("desk@hotel.example", TO, "innkeeper", True)
    assert taken.message["Subject"] == "Wilkommen, José"
    text = taken.message.get_content().replace("\r\n", "\n")
    assert text == "Good evening.\n.\n..dots\n", "a dot at the beginning of a line is no end"


async def test_a_server_that_is_encrypted_from_the_first_byte(post: Post) -> None:
    async with MailServer(tls=post.serves, implicit=True) as server:
        told = await mail(server, post.trusts, tls="implicit", username=None).send(letter(), to=TO)
    assert told.outcome is Outcome.TAKEN
    assert server.taken[0].encrypted


@pytest.mark.parametrize(
    ("manner", "expected"),
    [
        (Manner.GREYLISTS, (Outcome.NOT_NOW, "451", False)),
        (Manner.KNOWS_NOBODY, (Outcome.REFUSED, "550", False)),
        (Manner.REFUSES_LETTER, (Outcome.REFUSED, "554", False)),
        (Manner.REFUSES_US, (Outcome.NOT_NOW, "550", False)),  # our account is wrong, not the guest's address
        (Manner.RELAYS_NOTHING, (Outcome.NOT_NOW, "554", False)),  # no more than that, said late
        (Manner.SHUTS_DOWN, (Outcome.NOT_NOW, "421", False)),
        (Manner.SHUTS_DOWN_AFTER, (Outcome.NOT_NOW, "421", False)),
        (Manner.HANGS, (Outcome.NOT_NOW, "no answer in time", False)),
        (Manner.HANGS_AFTER, (Outcome.UNKNOWN, "no answer in time", True)),
        (Manner.DROPS_AFTER, (Outcome.UNKNOWN, "no connection", True)),
        (Manner.SILENT, (Outcome.NOT_NOW, "no answer in time", False)),
        (Manner.NO_STARTTLS, (Outcome.NOT_NOW, "no encryption", False)),
    ],
)  # fmt: skip
async def test_what_is_said_of_a_letter_is_so(
    manner: Manner, expected: tuple[Outcome, str, bool], server: MailServer, post: Post
) -> None:
    server.manner = manner
    patient = manner not in (Manner.HANGS, Manner.HANGS_AFTER, Manner.SILENT)
    told = await mail(server, post.trusts, waits_s=20.0 if patient else 0.4).send(letter(), to=TO)
    assert (told.outcome, told.answer, bool(server.taken)) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("550 5.1.1 no such user", Outcome.REFUSED),
        ("553 not so", Outcome.REFUSED),
        ("550 5.5.0 Requested action not taken: mailbox unavailable", Outcome.REFUSED),
        ("550 5.4.1 Recipient address rejected: Access denied", Outcome.REFUSED),  # how Exchange says nobody
        ("550 5.7.26 This mail is unauthenticated", Outcome.NOT_NOW),
        ("550 5.1.8 sender's domain has no such host", Outcome.NOT_NOW),
        ("552 5.2.2 mailbox full", Outcome.NOT_NOW),
        ("550 5.2.2 over quota", Outcome.NOT_NOW),
        ("552 too many recipients", Outcome.NOT_NOW),  # RFC 5321, 4.5.3.1.10
        ("503 5.5.1 need MAIL", Outcome.NOT_NOW),
        ("450 4.2.0 greylisted", Outcome.NOT_NOW),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_a_no_is_against_the_guest_or_against_us(
    reply: str, expected: Outcome, late: bool, server: MailServer, post: Post
) -> None:
    server.to_recipient, server.to_letter = (None, reply) if late else (reply, None)
    told = await mail(server, post.trusts, waits_s=20.0).send(letter(), to=TO)
    assert (told.outcome, told.answer, server.taken) == (expected, reply[:3], [])


@pytest.mark.parametrize("reply", ["\x00\xff hello", "251 will forward", "354 go on", "999 what", "0"])
async def test_what_is_neither_yes_nor_no_leaves_it_open_whether_it_was_taken(
    reply: str, server: MailServer, post: Post
) -> None:
    """Else the guest's letter would hold a link that was ended."""
    server.to_letter = reply
    told = await mail(server, post.trusts, waits_s=20.0).send(letter(), to=TO)
    assert len(server.taken) == 1
    assert told.outcome is Outcome.UNKNOWN


async def test_a_letter_has_seven_bits_whoever_asks_for_more(server: MailServer, post: Post) -> None:
    text = "Grüße aus dem Süden, مرحبا\n" * 3
    assert (await mail(server, post.trusts).send(letter(text), to=TO)).outcome is Outcome.TAKEN
    [taken] = server.taken
    assert taken.raw.isascii()
    assert taken.message.get_content().replace("\r\n", "\n") == text


async def test_whoever_greylists_takes_it_the_second_time(server: MailServer, post: Post) -> None:
    server.manner = Manner.GREYLISTS
    ours = mail(server, post.trusts)
    assert [(await ours.send(letter(), to=TO)).outcome for _ in range(2)] == [Outcome.NOT_NOW, Outcome.TAKEN]
    assert len(server.taken) == 1


async def test_nothing_goes_to_a_server_whose_certificate_nobody_trusts(server: MailServer, post: Post) -> None:
    told = await mail(server, post.trusts_others).send(letter(), to=TO)
    assert told.outcome is Outcome.NOT_NOW
    assert server.taken == []


async def test_a_wrong_password_is_ours_to_mend(server: MailServer, post: Post) -> None:
    told = await mail(server, post.trusts, password="another").send(letter(), to=TO)
    assert (told.outcome, told.answer) == (Outcome.NOT_NOW, "535")


async def test_a_server_that_babbles_or_is_not_there(server: MailServer, post: Post) -> None:
    server.manner = Manner.BABBLES
    assert (await mail(server, post.trusts).send(letter(), to=TO)).outcome is Outcome.NOT_NOW
    async with MailServer() as gone:
        port = gone.port
    told = await mail(server, post.trusts, port=port).send(letter(), to=TO)
    assert (told.outcome, told.answer) == (Outcome.NOT_NOW, "no connection")


async def test_an_address_never_ends_a_command(server: MailServer, post: Post) -> None:
    told = await mail(server, post.trusts).send(letter(), to="a@b.example>\r\nRCPT TO:<c@d.example")
    assert (told.outcome, told.answer, server.connections) == (Outcome.REFUSED, "no address", 0)
