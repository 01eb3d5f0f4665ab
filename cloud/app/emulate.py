"""`innkeeper-cloud emulate-pms` and `emulate-payments`: a partner as a process of its own, for rehearsals."""

import asyncio
import sys
from pathlib import Path
from typing import Final

from cloud.app.secrets import read_secret
from cloud.app.settings import CloudSettings, PaymentSettings, PmsSettings
from cloud.payments.stripe import server as stripe_server
from cloud.payments.stripe.emulator import StripeEmulator
from cloud.pms.emulation.book import Book
from cloud.pms.emulation.face import TAME, Credentials, Knobs, webhook
from cloud.pms.emulation.server import build
from cloud.pms.exchange import http_client
from cloud.pms.vendors import EMULATORS
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.files import SystemDisk
from kit.http import serving
from protocols.device_model.site_plan import SITE_PLAN_BYTES_MAX, parse
from protocols.errors import InvalidInputError

ROOMS_DEFAULT: Final = tuple(str(floor * 100 + number) for floor in (1, 2) for number in range(1, 14))
LIFE_SEEDS: Final = 1_000_003
"""Between the seeds of one emulator's lives: ids that were given once do not come again."""


async def emulate_pms(
    settings: CloudSettings,
    *,
    property_id: str | None,
    port: int,
    seed: int,
    site_plan: Path | None,
    reservations: int,
    push_to: str | None,
    tame: bool,
    book: Path | None,
    stop: asyncio.Event,
) -> None:
    """Serve the wire of the connection's system until `stop` is set; says its port on standard output once it answers.

    Args:
        property_id: which [[pms]] connection's tokens to accept; None takes the first.
        port: on loopback; 0 takes a free one.
        site_plan: whose guest rooms to have; None: 101 to 113 and 201 to 213.
        push_to: address of the cloud service; None pushes nothing.
        book: file that keeps the hotel over restarts; None: it lives as long as the process.

    Raises:
        InvalidInputError: no such connection, or an unreadable plan, secret or book.
    """
    found = _connection(settings, property_id)
    clock = SystemClock("host")
    memory = None if book is None else Book(SystemDisk(), book)
    lives = 0 if memory is None else memory.lives
    async with http_client() as http:
        push = None
        if push_to is not None:
            push = webhook(http, f"{push_to.rstrip('/')}/webhooks/pms/{read_secret(found.webhook_secret_path)}")
        credentials = Credentials(
            "" if found.client_token_path is None else read_secret(found.client_token_path),
            read_secret(found.access_token_path),
        )
        emulator = EMULATORS[found.system](
            rooms=list(ROOMS_DEFAULT) if site_plan is None else _rooms(site_plan),
            reservations=0 if lives else reservations,
            credentials=credentials,
            clock=clock,
            dice=SeededDice(seed + lives * LIFE_SEEDS),
            push=push,
            knobs=TAME if tame else Knobs(),
        )
        if memory is not None:
            memory.keep(emulator.hotel)
        async with serving(build(emulator), port=port) as bound:
            sys.stdout.write(f"http://127.0.0.1:{bound}\n")
            sys.stdout.flush()
            await stop.wait()


async def emulate_payments(
    settings: CloudSettings,
    *,
    property_id: str | None,
    port: int,
    seed: int,
    push_to: str | None,
    tame: bool,
    stop: asyncio.Event,
) -> None:
    """Serve the wire of a property's payment provider until `stop` is set; says its address once it answers.

    Its memory is the process's: what was held is gone with it.

    Args:
        property_id: which [[payments]] account's secrets to use; None takes the first.
        port: on loopback; 0 takes a free one.
        seed: of its bad manners.
        push_to: address of the cloud service; None pushes nothing.
        tame: behave as documented.

    Raises:
        InvalidInputError: no such account, or an unreadable secret.
    """
    found = _account(settings, property_id)
    hook = None
    if push_to is not None:
        address = f"{push_to.rstrip('/')}/webhooks/payments/{found.property}"
        hook = stripe_server.Hook(address, read_secret(found.webhook_secret_path))
    dice = SeededDice(seed)
    async with http_client() as http:
        account = stripe_server.Account(
            StripeEmulator(read_secret(found.secret_key_path), dice.fork("ids")),
            hook,
            http=http,
            clock=SystemClock("host"),
            dice=dice.fork("manners"),
            knobs=stripe_server.TAME if tame else stripe_server.Knobs(),
        )
        async with serving(stripe_server.build(account), port=port) as bound:
            sys.stdout.write(f"http://127.0.0.1:{bound}\n")
            sys.stdout.flush()
            await stop.wait()


def _account(settings: CloudSettings, property_id: str | None) -> PaymentSettings:
    for each in settings.payments:
        if property_id is None or each.property == property_id:
            return each
    raise InvalidInputError("payments", f"no [[payments]] account for {property_id or 'any property'} in the settings")


def _connection(settings: CloudSettings, property_id: str | None) -> PmsSettings:
    for each in settings.pms:
        if property_id is None or each.property == property_id:
            return each
    raise InvalidInputError("pms", f"no [[pms]] connection for {property_id or 'any property'} in the settings")


def _rooms(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            plan = parse(file.read(SITE_PLAN_BYTES_MAX + 1), str(path))
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    return [room.id for room in plan.rooms if room.kind == "guest_room"]
