"""Passwords in URLs are not shown."""

from __future__ import annotations

import re
from typing import Any

# To the last @, because a password typed as it is may itself hold @ or /.
USER_PASSWORD = re.compile(r"(://[^\s:/@\"']*):([^\s\"']*)@")
QUERY_PASSWORD = re.compile(r"([?&](?:password|sslpassword)=)[^&\s\"']*", re.IGNORECASE)


def masked(text: str) -> str:
    return QUERY_PASSWORD.sub(r"\1***", USER_PASSWORD.sub(r"\1:***@", text))


def masked_all(value: Any) -> Any:
    """The same value with the password of every URL in it replaced."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: masked_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked_all(item) for item in value]
    return value
