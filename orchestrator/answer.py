"""Problem details (RFC 9457): the one shape in which the web port says no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from pydantic import BaseModel

PROBLEM_TYPE: Final = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457 problem details."""

    title: str
    status: int
    detail: str


def answered_with(status: int, description: str) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes a problem."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {status: {"model": Problem, "description": description, "content": {PROBLEM_TYPE: {"schema": schema}}}}


def problem(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    content = jsonable_encoder({"title": title, "status": status, "detail": detail, **more})
    return JSONResponse(content, status_code=status, media_type=PROBLEM_TYPE, headers=headers)
