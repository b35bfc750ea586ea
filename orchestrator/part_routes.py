"""The API's answers to: what became of the parts?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import FastAPI, HTTPException, Path, Query

from orchestrator.part_answers import PartLife, PartListed, PartView
from orchestrator.queue_routes import Operator
from orchestrator.review_answers import MISSING, REFUSED
from storage import audit
from storage.database import Database
from storage.life import InspectionLife, life
from storage.resolution import Name

TAGS: list[Any] = ["parts"]
Found = TypeVar("Found")
PartId = Annotated[Name, Path(description="The part_id, or the id of one inspection.")]


def add_parts(app: FastAPI, database: Callable[[], Database]) -> None:
    @app.get("/api/v1/parts", tags=TAGS, responses=REFUSED, response_model=list[PartListed])
    def parts(
        who: Operator,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        before: Annotated[UUID | None, Query(description="Only inspections older than this one.")] = None,
    ) -> list[dict[str, Any]]:
        """The newest inspections, newest first."""
        with database().begin() as session:
            return audit.newest(session, limit, before)

    @app.get("/api/v1/parts/{part_id}", tags=TAGS, responses=MISSING, response_model=list[PartView])
    def part(who: Operator, part_id: PartId) -> list[dict[str, Any]]:
        """Each view of each inspection of a part, oldest first."""
        with database().begin() as session:
            return required(audit.part(session, part_id), part_id)

    @app.get("/api/v1/parts/{part_id}/life", tags=TAGS, responses=MISSING, response_model=list[PartLife])
    def whole_life(who: Operator, part_id: PartId) -> list[InspectionLife]:
        """Each inspection of a part with its views, its review, and what people decided and drew, oldest first.

        Opinions of a round that still runs are shown to who told them alone.
        """
        with database().begin() as session:
            return required(life(session, part_id, who.name), part_id)


def required(found: list[Found], part_id: str) -> list[Found]:
    if not found:
        raise HTTPException(404, f"no part or inspection {part_id!r} is on record")
    return found
