"""Passwords: which are taken (NIST SP 800-63B: long, not guessable, of any composition), and how they are kept."""

from __future__ import annotations

import re
import secrets
import threading
import unicodedata
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from storage.errors import PasswordRefused, SignInLimited

MAXIMUM_CHARACTERS = 256
DISTINCT_CHARACTERS = 5
GUESSED_FIRST = (
    *("password", "passwort", "passphrase", "changeme", "welcome", "letmein", "administrator", "admin", "secret"),
    *("adline", "operator", "engineer", "auditor", "inspection", "비밀번호", "관리자"),
    *("1234567890", "0987654321", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm"),
)
"""What people put where a password is asked for: none of it makes a password harder to guess."""
RUN = 4  # so many characters of a row such as 1234567890 count as taken from it
VERIFY_SECONDS = 5.0


def check_password(password: str, minimum_characters: int, *names: str) -> None:
    """PasswordRefused when it is too short, too long, or made of what is guessed first; names: of user and line."""
    given = normal(password)
    if not minimum_characters <= len(given) <= MAXIMUM_CHARACTERS:
        raise PasswordRefused(
            f"the password has {len(given)} characters; allowed are {minimum_characters} to {MAXIMUM_CHARACTERS}, "
            "of any kind, blanks too"
        )
    if not given.isprintable():
        raise PasswordRefused("the password has a character that cannot be shown, such as a tab")
    if len(set(without_the_guessable(given, *names))) < DISTINCT_CHARACTERS:
        raise PasswordRefused(
            "the password is one of those that are guessed first: a common word, a name, a row of keys, or a "
            "repetition; some words that have nothing to do with each other are better"
        )


def without_the_guessable(password: str, *names: str) -> str:
    """What is left to guess: without common words, the names, rows of keys, and without repeating itself."""
    left = password.casefold()
    for word in sorted((*GUESSED_FIRST, *(name.casefold() for name in names if name)), key=len, reverse=True):
        left = left.replace(word, "")
    for row in GUESSED_FIRST:
        for start in range(len(row) - RUN + 1):
            left = left.replace(row[start : start + RUN], "")
    return re.sub(r"(.+?)\1+", r"\1", left)


def normal(password: str) -> str:
    """One form for what looks the same, whichever keyboard it was typed on."""
    return unicodedata.normalize("NFKC", password)


def random_password() -> str:
    """24 characters, 144 bits."""
    return secrets.token_urlsafe(18)


class Passwords:
    """Hashes and verifies with argon2id at the parameters that argon2-cffi recommends (RFC 9106, 64 MiB).

    One at a time: sign-ins must not take memory and cores from the inspection of parts.
    """

    def __init__(self) -> None:
        self.hasher = PasswordHasher()
        self.turn = threading.Lock()

    def hash(self, password: str) -> str:
        return self.hasher.hash(normal(password))

    @cached_property
    def nobodys(self) -> str:
        """Verified against when nobody has the name: the answer then takes as long as for a wrong password."""
        return self.hash(random_password())

    def verify(self, hash: str | None, password: str) -> bool:
        """Whether this is the password; False, after as long a time, when there is no hash."""
        if not self.turn.acquire(timeout=VERIFY_SECONDS):
            raise SignInLimited(round(VERIFY_SECONDS))
        try:
            instead = self.nobodys  # made by the first who asks, whether the name is known or not
            return self.hasher.verify(hash or instead, normal(password)[: MAXIMUM_CHARACTERS + 1])
        except (VerificationError, InvalidHashError):
            return False
        finally:
            self.turn.release()

    def is_outdated(self, hash: str) -> bool:
        return self.hasher.check_needs_rehash(hash)
