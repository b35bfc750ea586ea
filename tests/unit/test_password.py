from __future__ import annotations

import pytest

from orchestrator.password import MAXIMUM_CHARACTERS, check_password, random_password
from storage.errors import PasswordRefused
from storage.tries import LONGEST_WAIT_SECONDS, wait_seconds


@pytest.mark.parametrize(
    "password",
    [
        "four herons wade upstream",
        "alllowercaseletterswithoutanyblank",
        "열다섯글자가넘는아주긴암호문장입니다",
        "tr0ub4dor&3-and-more",
        "correct horse " * 15,
    ],
)
def test_length_counts_and_composition_does_not(password: str) -> None:
    check_password(password, 15, "otto", "line-1")


def test_a_password_made_at_random_is_taken() -> None:
    check_password(random_password(), 15, "otto", "line-1")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "fourteen chars",
        "a" * 20,
        "abababababababababab",
        "passwordpassword",
        "PasswordPassword1",
        "123456789012345678",
        "qwertyuiopasdfghjkl",
        "abcdefghijklmnopqrs",
        "ottoottoottootto",
        "adlineadlineadline",
        "line-1line-1line-1",
        "otto-otto-otto-2026",
        "비밀번호비밀번호비밀번호비밀번호",
        "four herons\twade upstream",
        "four herons\x00wade upstream",
        "x" * (MAXIMUM_CHARACTERS + 1),
    ],
)
def test_what_is_guessed_first_is_refused(password: str) -> None:
    with pytest.raises(PasswordRefused) as caught:
        check_password(password, 15, "otto", "line-1")
    assert not password or password not in str(caught.value)


def test_what_looks_the_same_is_the_same_password() -> None:
    with pytest.raises(PasswordRefused, match="has 14 characters"):
        check_password("e\u0301" * 14, 15)


def test_the_wait_doubles_up_to_the_longest() -> None:
    waits = [wait_seconds(beyond) for beyond in range(-5, 40)]
    assert waits[:9] == [0, 0, 0, 0, 0, 1, 2, 4, 8]
    assert max(waits) == LONGEST_WAIT_SECONDS and waits == sorted(waits)
