"""`innkeeper-edge`: run the edge, run the doors, ask how the doors are, check a configuration, prove the log."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge.app.take_away_orders import add_take_away
from protocols.errors import InvalidInputError, PlatformError, UnsupportedVersionError

FAILED: Final = 1
WRONG_CONFIGURATION: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the process's exit status: 0, 1 (failed) or 2 (wrong configuration)."""
    arguments = _parser().parse_args(argv)
    command: str = arguments.command
    try:
        if command == "check-config":
            return _check(arguments.config, os.environ)
        if command == "doors":
            from edge.app.doors import main as doors_main

            return doors_main(arguments.config, os.environ)
        if command == "rules-dry-run":
            return _rules_dry_run(arguments, os.environ)
        if command == "verify-log":
            return _verify_log(arguments)
        if command == "doors-status":
            from edge.app.doors_status import main as doors_status

            return doors_status(arguments.config, os.environ)
        if command == "doors-reset-clock":
            from edge.app.doors_reset_clock import main as reset_clock

            return reset_clock(arguments.config, os.environ, by=arguments.by, reason=arguments.reason)
        if command == "doors-take-away":
            from edge.app.doors_take_away import main as take_away

            return take_away(arguments, os.environ)
        return _run(arguments.config, os.environ)
    except KeyboardInterrupt:
        return FAILED


def _run(config: Path, environ: Mapping[str, str]) -> int:
    from kit.lean_import import hollow

    with hollow("yaml"), hollow("pdb"):  # litestar's, for a schema that we do not serve and a debugger
        from edge.app.run import run
    from edge.app.settings import EdgeSettings
    from kit import event_loop
    from kit.settings import load

    try:
        settings = load(EdgeSettings, config, "EDGE", environ)
    except PlatformError as error:
        return _say(WRONG_CONFIGURATION, error)
    try:
        event_loop.run(run(settings))
    except (InvalidInputError, UnsupportedVersionError) as error:
        return _say(WRONG_CONFIGURATION, error)
    except PlatformError as error:
        return _say(FAILED, error)
    return 0


def _verify_log(arguments: argparse.Namespace) -> int:
    from edge.log.verify import run

    return run(
        arguments.folder, keys=arguments.key, heads=arguments.head, say=lambda line: sys.stdout.write(f"{line}\n")
    )


def _rules_dry_run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from edge.app.rules_dry_run import run
    from kit.clock import SystemClock
    from kit.dice import SystemDice

    try:
        run(
            arguments.config,
            arguments.policy,
            arguments.begins,
            arguments.ends,
            environ,
            clock=SystemClock(trust="host"),
            dice=SystemDice(),
            say=lambda line: sys.stdout.write(f"{line}\n"),
        )
    except (InvalidInputError, UnsupportedVersionError) as error:
        return _say(WRONG_CONFIGURATION, error)
    except PlatformError as error:
        return _say(FAILED, error)
    return 0


def _check(config: Path, environ: Mapping[str, str]) -> int:
    from edge.app.check_config import problems

    found = problems(config, environ)
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    if not found:
        sys.stdout.write(f"{config}: nothing wrong\n")
    return WRONG_CONFIGURATION if found else 0


def _say(status: int, error: PlatformError) -> int:
    sys.stderr.write(f"innkeeper-edge: {error}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="innkeeper-edge", description="The Innkeeper node in a building.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, says in (
        ("run", "run the edge: record log, rooms, check-in, API and the link to the cloud"),
        ("doors", "run the doors: issue grants, talk to locks; a process of its own"),
        ("doors-status", "ask the running doors how they are; exit status 0: ready"),
        ("check-config", "print everything that is wrong with a configuration, and run nothing"),
    ):
        command = commands.add_parser(name, help=says, description=says)
        command.add_argument("--config", type=Path, required=True, help="edge.toml; for doors, doors.toml")
    says = "undo what the doors signed while the host's clock was far ahead; the clock must be right again"
    reset = commands.add_parser("doors-reset-clock", help=says, description=says)
    reset.add_argument("--config", type=Path, required=True, help="doors.toml")
    reset.add_argument("--by", required=True, help="your name, for the record")
    reset.add_argument("--reason", required=True, help="what happened, for the record")
    add_take_away(commands)
    says = "prove that the record log is what was written; exit status 0: it is, 1: it is not, 2: it cannot be read"
    verify = commands.add_parser("verify-log", help=says, description=says)
    verify.add_argument("folder", type=Path, help="the folder `log` in `data_dir`; a running edge is not disturbed")
    verify.add_argument("--key", type=Path, action="append", default=[], help="public key of the signed heads, PEM")
    verify.add_argument("--head", type=Path, action="append", default=[], help="a signed head that was kept elsewhere")
    says = "live the recorded days under another room policy, and tell what would have been otherwise"
    dry_run = commands.add_parser("rules-dry-run", help=says, description=says)
    dry_run.add_argument("--config", type=Path, required=True, help="edge.toml; a running edge is not disturbed")
    dry_run.add_argument("--policy", type=Path, required=True, help="the room policy to try")
    dry_run.add_argument("--from", dest="begins", required=True, help="date, or date and time, in the property's zone")
    dry_run.add_argument("--to", dest="ends", required=True, help="likewise; not part of it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
