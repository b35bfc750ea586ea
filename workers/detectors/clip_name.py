"""The names of CLIP weights: an open_clip model and the tag of its weights."""

from __future__ import annotations

import re
from dataclasses import dataclass

from storage.errors import ModelConfigurationWrong


@dataclass(frozen=True)
class ClipName:
    """An open_clip model and the tag of its weights, written MODEL:TAG."""

    model: str
    tag: str

    def __str__(self) -> str:
        return f"{self.model}:{self.tag}"

    @property
    def folder(self) -> str:
        """The name as a folder."""
        return f"{self.model}.{self.tag}"


def spelled(name: str) -> ClipName:
    """Read MODEL:TAG, MODEL (OpenAI's weights) or OpenAI's own spelling; whether there is such a model is not asked."""
    model, _, tag = name.partition(":")
    model = re.sub(r"@(\d+)px$", r"-\1", model.replace("/", "-"))
    if not re.fullmatch(r"[\w.-]*", tag):
        raise ModelConfigurationWrong(f"{name}: given the tag {tag!r}, allowed letters, digits, '_', '-' and '.'")
    return ClipName(model, tag or "openai")
