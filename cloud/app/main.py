"""The command `innkeeper-cloud`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

from cloud.app.settings import CloudSettings
from kit import event_loop
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.logs import configure, logger
from kit.settings import load
from protocols.errors import InvalidInputError, PlatformError, UnsupportedVersionError

ENV_PREFIX: Final = "INNKEEPER_CLOUD"
EXIT_OK, EXIT_FAILED, EXIT_WRONG = 0, 1, 2
"""Done; failed, or not proved; what it was given is wrong: the configuration, a file or an argument."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands; return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        settings = load(CloudSettings, asked.config, ENV_PREFIX, os.environ)
        configure("cloud", settings.log.level, settings.log.json)
        logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # six lines about itself
        return _run(asked, settings)
    except (InvalidInputError, UnsupportedVersionError) as error:
        sys.stderr.write(f"innkeeper-cloud: {error}\n")
        return EXIT_WRONG
    except PlatformError as error:
        sys.stderr.write(f"innkeeper-cloud: {error}\n")
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, required=True, help="cloud.toml")
    parser = argparse.ArgumentParser(prog="innkeeper-cloud", description="The cloud service of Innkeeper.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", parents=[common], help="bring the database to this version's schema")
    commands.add_parser("run", parents=[common], help="serve")
    ingest = commands.add_parser("ingest", parents=[common], help="be one more ingest worker, and nothing else")
    ingest.add_argument("--operations-port", type=int, help="serve /health and /metrics here; 0 takes a free one")
    plan = commands.add_parser("load-property", parents=[common], help="create or renew a property from its site plan")
    plan.add_argument("file", type=Path, help="site plan (JSON)")
    user = commands.add_parser("create-user", parents=[common], help="make an account; reads its password from stdin")
    user.add_argument("--tenant", required=True)
    user.add_argument("--email", required=True)
    user.add_argument("--name", required=True)
    user.add_argument("--role", choices=["viewer", "staff", "admin"], default="admin")
    user.add_argument("--property", action="append", help="may be given again; by default every property of the tenant")
    keys = commands.add_parser("rotate-keys", parents=[common], help="wrap every data key with the key of [privacy]")
    keys.add_argument("--tenant", help="also begin a new data key of this tenant and seal its sessions anew")
    trail = commands.add_parser("verify-audit", parents=[common], help="prove that no entry of an audit trail changed")
    trail.add_argument("--tenant", required=True)
    trail.add_argument("--kept", action="append", default=[], metavar="SEQ:HASH", help="a head printed before")
    verify = commands.add_parser("verify", parents=[common], help="prove that no record of a property is missing")
    verify.add_argument("--property", required=True)
    verify.add_argument(
        "--trust-checkpoints", action="store_true", help="believe days that were proved before instead of reading them"
    )
    verify.add_argument(
        "--readings",
        action=argparse.BooleanOptionalAction,
        help="hold the time series against the records; by default unless checkpoints are trusted",
    )
    verify.add_argument("--since", type=date.fromisoformat, metavar="DAY", help="readings of this UTC day and later")
    verify.add_argument("--until", type=date.fromisoformat, metavar="DAY", help="readings before this UTC day")
    emulate = commands.add_parser(
        "emulate-pms", parents=[common], help="be the PMS of a property, misbehaving by default"
    )
    emulate.add_argument("--port", type=int, default=0, help="0 takes a free one")
    emulate.add_argument("--seed", type=int, default=1)
    emulate.add_argument("--property", help="which of the [[pms]] connections; by default the first")
    emulate.add_argument("--site-plan", type=Path, help="take the guest rooms of this plan")
    emulate.add_argument("--reservations", type=int, default=20, help="how many to begin with")
    emulate.add_argument("--push-to", help="address of the cloud service that hears the pushes")
    emulate.add_argument("--book", type=Path, help="file that keeps the hotel when the emulator ends or is killed")
    emulate.add_argument("--tame", action="store_true", help="behave as documented")
    till = commands.add_parser(
        "emulate-payments", parents=[common], help="be the payment provider of a property, misbehaving by default"
    )
    till.add_argument("--port", type=int, default=0, help="0 takes a free one")
    till.add_argument("--seed", type=int, default=1)
    till.add_argument("--property", help="which of the [[payments]] accounts; by default the first")
    till.add_argument("--push-to", help="address of the cloud service that hears the events")
    till.add_argument("--tame", action="store_true", help="behave as documented")
    return parser


def _run(asked: argparse.Namespace, settings: CloudSettings) -> int:
    match asked.command:
        case "migrate":
            from cloud.migrations.upgrade import upgrade

            for head in sorted(upgrade(settings.database.dsn)):
                sys.stdout.write(f"{head}\n")
            return EXIT_OK
        case "load-property":
            return asyncio.run(_load_property(settings, asked.file))
        case "verify-audit":
            return asyncio.run(_verify_audit(settings, asked.tenant, asked.kept))
        case "rotate-keys":
            return asyncio.run(_rotate_keys(settings, asked.tenant))
        case "create-user":
            return asyncio.run(_create_user(settings, asked))
        case "emulate-pms":
            return asyncio.run(_emulate_pms(settings, asked))
        case "emulate-payments":
            return asyncio.run(_emulate_payments(settings, asked))
        case "ingest":
            return event_loop.run(_ingest(settings, asked.operations_port))
        case "verify":
            return asyncio.run(_verify(settings, asked))
        case _:
            return event_loop.run(_serve(settings))


async def _load_property(settings: CloudSettings, path: Path) -> int:
    from cloud.app.plan import load_property
    from cloud.kit.acting import system
    from cloud.kit.database import Database
    from protocols.device_model.site_plan import SITE_PLAN_BYTES_MAX, parse

    try:
        with path.open("rb") as file:
            raw = file.read(SITE_PLAN_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    plan = parse(raw, str(path))
    database = Database(settings.database.dsn, most=2, actor=system("load-property"))
    await database.open()
    try:
        await load_property(database, plan, now_ms=SystemClock("host").wall_ms())
    finally:
        await database.close()
    sys.stdout.write(f"{plan.property.id}: {len(plan.rooms)} rooms, {len(plan.doors)} doors, edge {plan.edge}\n")
    return EXIT_OK


async def _verify_audit(settings: CloudSettings, tenant: str, kept: Sequence[str]) -> int:
    """Print every flaw and the head; exit 1 if there is a flaw."""
    from cloud.kit.acting import system
    from cloud.kit.database import Database
    from cloud.platform.audit import Head, verify

    try:
        parts = [each.partition(":") for each in kept]
        heads = [Head(int(seq), bytes.fromhex(digest)) for seq, _, digest in parts]
    except ValueError as error:
        raise InvalidInputError("--kept", "want SEQ:HASH as this command prints it") from error
    database = Database(settings.database.dsn, most=2, actor=system("verify-audit"))
    await database.open()
    try:
        async with database.snapshot() as connection:
            verdict = await verify(connection, tenant=tenant, kept=heads)
    finally:
        await database.close()
    for flaw in verdict.flaws:
        sys.stdout.write(f"{flaw}\n")
    said = "BROKEN" if verdict.flaws else "holds"
    sys.stdout.write(
        f"{tenant}: {verdict.entries} entries, head {verdict.head.seq}:{verdict.head.hash.hex()}: {said}\n"
    )
    return EXIT_FAILED if verdict.flaws else EXIT_OK


async def _rotate_keys(settings: CloudSettings, tenant: str | None) -> int:
    from cloud.app.rotate import rotate_keys
    from kit.dice import SystemDice

    wrapped, renewed = await rotate_keys(settings, tenant=tenant, clock=SystemClock("host"), dice=SystemDice())
    sys.stdout.write(f"{wrapped} data keys wrapped anew, {renewed} sessions sealed anew\n")
    return EXIT_OK


async def _create_user(settings: CloudSettings, asked: argparse.Namespace) -> int:
    from getpass import getpass

    from cloud.kit.acting import system
    from cloud.kit.database import Database
    from cloud.platform.accounts import create_account, email_of
    from cloud.platform.passwords import Passwords, judged
    from cloud.platform.principals import Role
    from kit.dice import SystemDice

    password = getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    email, dice = email_of(asked.email), SystemDice()
    phc = await Passwords(dice=dice).hashed(judged(password, of=email))
    database = Database(settings.database.dsn, most=2, actor=system("create-user"))
    await database.open()
    try:
        async with database.transaction() as connection:
            made = await create_account(
                connection,
                tenant=asked.tenant,
                email=email,
                name=asked.name,
                role=Role(asked.role),
                properties=None if asked.property is None else frozenset(asked.property),
                phc=phc,
                by="innkeeper-cloud create-user",
                dice=dice,
                now_ms=SystemClock("host").wall_ms(),
            )
    finally:
        await database.close()
    sys.stdout.write(f"{made.id} {made.email}: {made.role.value} of {made.tenant}\n")
    return EXIT_OK


async def _verify(settings: CloudSettings, asked: argparse.Namespace) -> int:
    """Print what each stream adds up to, and every flaw by its positions; exit 1 if there is one."""
    from cloud.app.verdict import readings_verdict, verdict
    from cloud.kit.acting import system
    from cloud.kit.database import Database
    from cloud.platform.properties import property_by_id
    from cloud.telemetry.completeness import prove
    from cloud.telemetry.reading_proof import prove_readings

    property_id, trust, holds = asked.property, asked.trust_checkpoints, True
    narrowed = asked.since is not None or asked.until is not None
    readings = asked.readings if asked.readings is not None else narrowed or not trust
    if narrowed and not readings:
        raise InvalidInputError("--since, --until", "narrow the time series, which --no-readings leaves out")
    database = Database(settings.database.dsn, most=2, actor=system("verify"))
    await database.open()
    try:
        async with database.snapshot() as connection:
            found = await property_by_id(connection, property_id)
        if found is None:
            raise InvalidInputError("--property", f"{property_id!r} is not known")
        now_ms = SystemClock("host").wall_ms()
        async for each in prove(database, tenant=found.tenant, property_id=found.id, now_ms=now_ms, trust=trust):
            sys.stdout.write(verdict(each))
            sys.stdout.flush()
            holds = holds and each.holds
        if readings:
            found_readings = prove_readings(
                database,
                tenant=found.tenant,
                property_id=found.id,
                since=asked.since,
                until=asked.until,
                series_most=2 * settings.ingest.work.points_most,
            )
            async for series in found_readings:
                sys.stdout.write(readings_verdict(series))
                sys.stdout.flush()
                holds = holds and series.holds
    finally:
        await database.close()
    return EXIT_OK if holds else EXIT_FAILED


async def _ingest(settings: CloudSettings, operations_port: int | None) -> int:
    from cloud.app.ingest import run_ingest

    log = logger("cloud")
    await run_ingest(
        settings,
        clock=SystemClock("host"),
        dice=SystemDice(),
        operations_port=operations_port,
        bound=lambda port: log.info("serving", host=settings.http.host, port=port),
        stop=_stopped(),
    )
    return EXIT_OK


async def _emulate_pms(settings: CloudSettings, asked: argparse.Namespace) -> int:
    from cloud.app.emulate import emulate_pms

    await emulate_pms(
        settings,
        property_id=asked.property,
        port=asked.port,
        seed=asked.seed,
        site_plan=asked.site_plan,
        reservations=asked.reservations,
        push_to=asked.push_to,
        tame=asked.tame,
        book=asked.book,
        stop=_stopped(),
    )
    return EXIT_OK


async def _emulate_payments(settings: CloudSettings, asked: argparse.Namespace) -> int:
    from cloud.app.emulate import emulate_payments

    await emulate_payments(
        settings,
        property_id=asked.property,
        port=asked.port,
        seed=asked.seed,
        push_to=asked.push_to,
        tame=asked.tame,
        stop=_stopped(),
    )
    return EXIT_OK


def _stopped() -> asyncio.Event:
    """Return an event that SIGINT or SIGTERM sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    return stop


async def _serve(settings: CloudSettings) -> int:
    from cloud.app.service import run

    log = logger("cloud")
    await run(
        settings,
        clock=SystemClock("host"),
        dice=SystemDice(),
        bound=lambda port: log.info("serving", host=settings.http.host, port=port),
        stop=_stopped(),
    )
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
