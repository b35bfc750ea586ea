"""The private folders and secrets of a home."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from orchestrator.account import Account
from storage.errors import ServiceFailed

SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""What the system's sockaddr_un holds."""
LOG_BYTES = 20 << 20


def private_folder(path: Path) -> Path:
    """The folder, made if need be, for its owner alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def state_folder(home: Path) -> Path:
    """The state folder, made if need be; ServiceFailed when nothing can be written there."""
    try:
        private_folder(home)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError as error:
        raise ServiceFailed(
            f"state folder {home}: {error.strerror}; let this user write there, or choose another by ADLINE_HOME"
        ) from error


def log_file(home: Path, name: str) -> Path:
    """Where a service writes; a long file is set aside, so that the disk does not fill in the years of a plant."""
    file = private_folder(home / "logs") / f"{name}.log"
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".log.1"))
    return file


def last_lines(file: Path, count: int = 5) -> str:
    """The end of a log, for an error message."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-count:])


def secret(file: Path, account: Account | None = None) -> str:
    """The random password kept in this file, readable by its owner alone; made once."""
    if not file.exists():
        _make_secret(file, account)
    return file.read_text().strip()


def _make_secret(file: Path, account: Account | None) -> None:
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as lines:
        lines.write(secrets.token_urlsafe(32) + "\n")
    if account:
        account.own(draft)
    try:
        # Whole or not at all, and the first of two processes wins.
        file.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def socket_folder(folder: Path, socket_name: str) -> Path:
    """A path to the folder that fits a socket address and a URL: itself, or a short private link to it."""
    fits = len(os.fsencode(folder / socket_name)) <= SOCKET_PATH_BYTES
    return folder if fits and not set(str(folder)) & set(",:%?#&+ ") else _link(folder)


def pages_socket(home: Path) -> Path:
    """Where the operator's pages are served, by a path that fits a socket address."""
    return socket_folder(private_folder(home / "run"), "pages.sock") / "pages.sock"


def remove_link(folder: Path) -> None:
    """Remove the short link, if there is one."""
    place = _link_place(folder)
    if place.exists() and place.lstat().st_uid == os.geteuid():
        shutil.rmtree(place, ignore_errors=True)


def _link(folder: Path) -> Path:
    # Made again by whoever needs it: the system may clean its temporary folder while the line runs for weeks.
    link = _link_folder(folder) / "to"
    if not link.is_symlink() or link.readlink() != folder:
        draft = link.with_name(f"to.{os.getpid()}.{secrets.token_hex(4)}")
        draft.symlink_to(folder)
        draft.replace(link)
    return link


def _link_place(folder: Path) -> Path:
    temporary = Path(tempfile.gettempdir())
    # A temporary folder may itself be deep (macOS, test runs).
    short = temporary if len(os.fsencode(temporary)) <= 40 else Path("/tmp")
    return short / f"adline-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


def _link_folder(folder: Path) -> Path:
    private = private_folder(_link_place(folder))
    facts = private.lstat()
    # The name can be guessed: somebody else's folder could lead us, and our password, to their socket.
    if private.is_symlink() or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise ServiceFailed(f"{private}: must be a folder of ours with mode 0700; remove it")
    return private
