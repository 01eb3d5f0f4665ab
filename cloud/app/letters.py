"""Letters to guests, made from [mail] and the connections to the PMS."""

import ssl
from collections.abc import Mapping

from cloud.app.secrets import read_secret
from cloud.app.settings import MailSettings
from cloud.checkin.letter_work import Letters, Wish
from cloud.checkin.mail.letter import is_address
from cloud.checkin.mail.smtp import Account, SmtpMail
from cloud.checkin.sessions import Sessions
from cloud.kit.database import Database
from cloud.pms.contacts import Contacts
from cloud.pms.port import PmsAdapter
from kit.clock import Clock
from kit.dice import Dice
from kit.health import Health
from kit.logs import logger
from protocols.errors import InvalidInputError


def make_letters(
    settings: MailSettings,
    database: Database,
    sessions: Sessions,
    adapters: Mapping[tuple[str, str], PmsAdapter],
    *,
    clock: Clock,
    dice: Dice,
    health: Health | None = None,
) -> Letters:
    """Return who writes to guests. Raises InvalidInputError: the sender is no address, or a file is missing or is not
    what it should be.
    """
    if not is_address(settings.sender):
        raise InvalidInputError("mail.sender", f"{settings.sender!r} is no address")
    return Letters(
        database,
        sessions,
        Contacts(adapters),
        SmtpMail(_account(settings), tls=_trust(settings)),
        wishes={each.property: Wish(each.invite_hours, each.room_ready, each.language) for each in settings.properties},
        sender=settings.sender,
        pages=settings.pages,
        clock=clock,
        dice=dice,
        log=logger("cloud.letters"),
        health=health,
    )


def _account(settings: MailSettings) -> Account:
    return Account(
        settings.host,
        settings.port,
        settings.sender,
        settings.tls,
        settings.username,
        None if settings.password_path is None else read_secret(settings.password_path),
    )


def _trust(settings: MailSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_path)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError("mail.ca_path", f"{settings.ca_path} holds no certificates: {error}") from error
