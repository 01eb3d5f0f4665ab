"""Set up a checkout on a machine that has only Python 3.11 to 3.13 and a package index.

Run by path, before anything of ours is importable, so it uses the standard library alone:

    python3 provisioning/environment/bootstrap.py environment     # .venv from requirements/dev.txt, hashes checked
    python3 provisioning/environment/bootstrap.py system chromium mosquitto dbus-daemon faketime

`environment` does nothing when the lock files have not changed since it last ran. `system` installs the named
Debian packages where it may (root, or sudo without a password) and otherwise says in one line that the test tier
which needs them will be skipped; it never fails the build.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("INNKEEPER_VENV", ROOT / ".venv"))
LOCK = ROOT / "requirements" / "dev.txt"
STAMP = VENV / ".innkeeper-stamp"
OLDEST, NEWEST = (3, 11), (3, 13)
SYSTEM_BINARIES = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "mosquitto": ("mosquitto",),
    "dbus-daemon": ("dbus-daemon",),
    "faketime": ("faketime",),
}
INSTALL_WAIT_S = 600


def say(line: str) -> None:
    """Print one line at once, so that it is seen before a long step begins."""
    print(f"setup: {line}", flush=True)


def run(*argv: str | Path, wait_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep what it printed."""
    return subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, timeout=wait_s, check=False)


def suitable_python() -> str:
    """Return the interpreter to build the environment with: this one, or another on PATH that we support."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found is not None and run(found, "-c", "import ssl, venv").returncode == 0:
            return found
    have = ".".join(str(part) for part in sys.version_info[:3])
    raise SystemExit(
        f"setup: Python {have} is not supported and no python3.11, python3.12 or python3.13 was found on PATH. "
        "Install one of them and run make again."
    )


def make_environment() -> None:
    """Create .venv and install the locked requirements and this distribution into it, once per lock."""
    python = suitable_python()
    inputs = LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + python.encode()
    wanted = hashlib.sha256(inputs).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    if not (VENV / "bin" / "python").exists():
        say(f"creating the virtual environment with {Path(python).name}")
        _create_venv(python)
    say("installing locked requirements, hashes checked (about a minute the first time)")
    pip = [str(VENV / "bin" / "python"), "-m", "pip"]
    if run(*pip, "--version").returncode != 0:  # a venv made without ensurepip: drive it from outside
        pip = [python, "-m", "pip", "--python", str(VENV / "bin" / "python")]
    for arguments in (
        ["--require-hashes", "-r", str(LOCK)],
        ["--no-deps", "--no-build-isolation", "-e", str(ROOT)],
    ):
        outcome = run(*pip, "install", "--quiet", "--disable-pip-version-check", *arguments)
        if outcome.returncode != 0:
            sys.stderr.write(outcome.stdout + outcome.stderr)
            raise SystemExit("setup: pip could not install the locked requirements; its own words are above.")
    STAMP.write_text(wanted)


def _create_venv(python: str) -> None:
    if python == sys.executable:
        try:
            venv.EnvBuilder(with_pip=True, symlinks=True, clear=VENV.exists()).create(VENV)
        except (subprocess.CalledProcessError, ImportError):  # Debian splits ensurepip into python3-venv
            venv.EnvBuilder(with_pip=False, symlinks=True, clear=True).create(VENV)
        return
    outcome = run(python, "-m", "venv", "--clear", VENV)
    if outcome.returncode != 0:
        outcome = run(python, "-m", "venv", "--clear", "--without-pip", VENV)
    if outcome.returncode != 0:
        raise SystemExit(f"setup: {python} could not make a virtual environment: {outcome.stderr.strip()}")


def install_system_packages(names: list[str]) -> None:
    """Install Debian packages for optional test tiers where we may; say so in one line where we may not."""
    missing = [name for name in names if not any(shutil.which(binary) for binary in SYSTEM_BINARIES[name])]
    if not missing:
        return
    prefix = _privilege()
    if prefix is None or shutil.which("apt-get") is None:
        why = "no apt-get here" if shutil.which("apt-get") is None else "neither root nor sudo without a password"
        say(f"{', '.join(missing)} not installed ({why}): the test tiers that need them will be skipped")
        return
    say(f"installing {', '.join(missing)} for the test tiers that need them")
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    try:
        run(*prefix, *quiet, "update", wait_s=INSTALL_WAIT_S)
        outcome = run(*prefix, *quiet, "install", "-y", "--no-install-recommends", *missing, wait_s=INSTALL_WAIT_S)
    except subprocess.TimeoutExpired:
        say(f"apt-get did not finish in {INSTALL_WAIT_S} s: the test tiers that need {missing} will be skipped")
        return
    if outcome.returncode != 0:
        last = (outcome.stderr.strip() or outcome.stdout.strip()).splitlines()[-1:]
        say(f"apt-get could not install {', '.join(missing)} ({' '.join(last)}): those test tiers will be skipped")


def _privilege() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is not None and run("sudo", "-n", "true").returncode == 0:
        return ["sudo", "-n"]
    return None


def main(argv: list[str]) -> None:
    """Dispatch the two commands of the module header."""
    if argv == ["environment"]:
        make_environment()
    elif len(argv) > 1 and argv[0] == "system" and set(argv[1:]) <= set(SYSTEM_BINARIES):
        install_system_packages(argv[1:])
    else:
        raise SystemExit(f"usage: bootstrap.py environment | system {' | '.join(SYSTEM_BINARIES)}")


if __name__ == "__main__":
    main(sys.argv[1:])
