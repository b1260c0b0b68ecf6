"""Fills .venv with exactly what the locks say: `python scripts/install.py [--dev]`.

A complete installation is left as it is. A stamp that is written last says for what it is complete, so
one that was interrupted, moved or made for other locks is noticed, and made afresh. Needs nothing but
the standard library of the Python that runs it, which becomes the one of .venv.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "syncline-setup.json"
LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
PROJECT = ROOT / "pyproject.toml"
LINE_SECONDS = 5.0  # where the output is not a terminal: how often a line says how far it is


class SetupFailed(Exception):
    """The installation could not be completed. The message says what to do."""


def main(arguments: Sequence[str]) -> int:
    with Path(__file__).open("rb") as gate:
        wait_for_turn(gate.fileno())
        try:
            install(with_dev="--dev" in arguments)
        except SetupFailed as problem:
            print(problem, file=sys.stderr)
            return 1
    return 0


def wait_for_turn(gate: int) -> None:
    """Two set-ups at once take turns: the second one finds everything done."""
    try:
        fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another set-up is under way; waiting for it ...")
        fcntl.flock(gate, fcntl.LOCK_EX)


def install(*, with_dev: bool) -> None:
    """Do what is missing, and nothing where nothing is. Raises SetupFailed."""
    wanted = {"base": digest(LOCK), "project": digest(PROJECT)}
    if with_dev:
        wanted["dev"] = digest(DEV_LOCK)
    have = stamp() if venv_works() else {}
    if wanted.items() <= have.items():
        return
    is_stale = have.get("base") != wanted["base"] or ("dev" in have and have["dev"] != digest(DEV_LOCK))
    if is_stale and VENV.is_symlink():
        VENV.unlink()  # what it leads to belongs to another checkout, and stays complete
    STAMP.unlink(missing_ok=True)
    if is_stale:
        make_venv()
        have = {}
        pip_install("Syncline", LOCK)
    if with_dev and "dev" not in have:
        pip_install("the tools for developers", DEV_LOCK)
    if have.get("project") != wanted["project"]:
        say("Installing the checkout itself ...")
        # "compat": by the folder, not by a list of what lies in it today.
        how = ("--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat")
        pip("install", "--quiet", *how, "--editable", str(ROOT))
    if "dev" in have:
        wanted["dev"] = have["dev"]
    fresh = STAMP.with_suffix(".new")
    fresh.write_text(json.dumps(wanted), encoding="utf-8")
    fresh.replace(STAMP)
    say(f"Ready: {VENV.relative_to(ROOT)} is complete.")


def digest(file: Path) -> str:
    """Of the file and of where the checkout lies: scripts in .venv/bin hold absolute paths."""
    return hashlib.sha256(file.read_bytes() + os.fsencode(ROOT)).hexdigest()


def stamp() -> Mapping[str, str]:
    try:
        found = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def venv_works() -> bool:
    """Whether .venv has a Python that runs and that we support."""
    check = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))"
    try:
        return subprocess.run([PYTHON, "-I", "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"Making .venv with Python {version} ({sys.executable}) ...")
    if VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    try:
        import ensurepip  # noqa: F401  (Debian ships it apart)

        without_pip = []
    except ImportError:
        without_pip = ["--without-pip"]
    made = subprocess.run(
        [sys.executable, "-I", "-m", "venv", *without_pip, VENV], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise SetupFailed(f"{made.stdout}{made.stderr}\nCould not make {VENV}; the lines above say why.")


def pip_install(what: str, lock: Path) -> None:
    total = sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())
    say(f"Installing {what}: {total} pinned packages of {lock.name}. This takes a minute or two ...")
    pip("install", "--require-hashes", "--requirement", str(lock), total=total)


def pip(*arguments: str, total: int = 0) -> None:
    """Run pip for .venv, showing how far it is. Raises SetupFailed with what pip said."""
    runner = [str(PYTHON), "-I", "-m", "pip"]
    if subprocess.run([*runner, "--version"], capture_output=True, check=False).returncode != 0:
        runner = [sys.executable, "-I", "-m", "pip", "--python", str(PYTHON)]
    misleading = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV")
    env = {name: value for name, value in os.environ.items() if name not in misleading}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    process = subprocess.Popen(
        [*runner, *arguments, "--progress-bar", "off"] if total else [*runner, *arguments],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if process.stdout is None:
        raise SetupFailed("pip cannot be read.")
    said = []
    progress = Progress(total)
    for line in process.stdout:
        said.append(line)
        progress.hear(line)
    progress.end()
    if process.wait() != 0:
        tail = "".join(said[-25:])
        raise SetupFailed(
            f"{tail}\npip could not install this; the lines above are its own. Is the network there?"
            "\nThe same command carries on from here."
        )


class Progress:
    """How far pip is: one line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seen = 0
        self.last = time.monotonic()

    def hear(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        if not self.total or word not in ("Collecting", "Installing"):
            return
        if word == "Installing":
            return say(f"  {self.seen} packages are here; unpacking them ...", over=True)
        self.seen += 1
        name = rest.partition("==")[0]
        if sys.stdout.isatty():
            say(f"  {self.seen} of {self.total}: {name}", over=True, end="")
        elif time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            say(f"  {self.seen} of {self.total}: {name}")

    def end(self) -> None:
        if self.total and sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)


def say(text: str, *, over: bool = False, end: str = "\n") -> None:
    print(f"\r\x1b[K{text}" if over and sys.stdout.isatty() else text, end=end, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
