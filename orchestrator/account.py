"""The unprivileged account Postgres runs under when adline itself runs as root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from storage.errors import ServiceFailed

ACCOUNTS = ("adline", "postgres", "_postgres", "nobody")
"""Tried in this order; a folder that already has another owner than root keeps it."""


class Switch(TypedDict, total=False):
    """The arguments of subprocess.Popen that change the account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """A system user, by number."""

    uid: int
    gid: int

    def switch(self) -> Switch:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


def account_for(folder: Path) -> Account | None:
    """Who runs the server of this folder; None is ourselves. Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return None
    owner = folder.stat()
    if owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    return _first_known(ACCOUNTS)


def _first_known(names: tuple[str, ...]) -> Account:
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ServiceFailed(f"Postgres does not run as root, and this machine has none of the users {', '.join(names)}")
