"""The defect book's API: everybody reads it, engineers write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, FastAPI

from orchestrator.person import Person, needs
from orchestrator.queue_routes import TAGS, Operator
from orchestrator.review_answers import BODY, MISSING, REFUSED, DefectShown
from storage import defect_book
from storage.defect_book import DefectEntry
from storage.label_models import DefectClass
from storage.resolution import Name
from workers.labeling.queue import Queue

Engineer = Annotated[Person, Depends(needs("engineer"))]


def add_defects(app: FastAPI, queue: Callable[[], Queue]) -> None:
    @app.get("/api/v1/defects", tags=TAGS, responses=REFUSED, response_model=list[DefectShown])
    def book(who: Operator) -> list[DefectClass]:
        """The defect book, in the order of its keys."""
        with queue().database.begin() as session:
            return defect_book.book(session)

    @app.put("/api/v1/defects/{name}", tags=TAGS, responses=MISSING | BODY, response_model=DefectShown)
    def write(who: Engineer, name: Name, entry: DefectEntry) -> DefectClass:
        """Add a class, or a new version of one; earlier versions are kept."""
        for sha256 in entry.examples:
            queue().store.path(sha256)
        with queue().database.begin() as session:
            return defect_book.write(session, name, entry, who.name)
