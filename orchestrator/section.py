"""What every section of the settings has in common: frozen, nothing unknown, numbers that are numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic.functional_validators import AfterValidator
from pydantic_core import PydanticCustomError

KeyPath = tuple[str | int, ...]
"""Where a setting stands: ("stations", 0, "name") is stations.0.name."""


class Section(BaseModel):
    """A group of settings; read once at the edge, then passed inward as plain values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


def refuse_truth_value(given: Any) -> Any:
    # Python takes True for 1, so `replicas = true` would otherwise pass as one replica.
    if isinstance(given, bool):
        raise PydanticCustomError("not_a_number", "a number, not true or false")
    return given


def beside_the_configuration(path: Path, info: ValidationInfo) -> Path:
    """Relative paths are meant from the configuration's folder, wherever the command was called."""
    folder = (info.context or {}).get("folder")
    return folder / path.expanduser() if folder else path


def url_of(*schemes: str) -> AfterValidator:
    """A validator that lets only URLs of these schemes pass."""
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, schemes))})://\S+")

    def check(given: str) -> str:
        if not pattern.fullmatch(given):
            raise PydanticCustomError("url", "a URL of another kind")
        return given

    return AfterValidator(check)


def allowed(text: str, *, secret: bool = False) -> Any:
    """Say in words what a setting may be, where its type alone does not."""
    return Field(json_schema_extra={"allowed": text, "secret": secret} if secret else {"allowed": text})


NUMBER = BeforeValidator(refuse_truth_value)
Whole = Annotated[int, NUMBER]
Real = Annotated[float, NUMBER]
Slug = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$"),
    allowed("a name of lower-case letters, digits and hyphens, at most 63"),
]
Text = Annotated[str, Field(min_length=1)]
Folder = Annotated[Path, AfterValidator(beside_the_configuration)]
Resources = Annotated[dict[str, Annotated[float, Field(gt=0), NUMBER]], allowed("a table of names and numbers above 0")]
