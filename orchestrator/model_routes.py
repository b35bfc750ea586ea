"""The registry's API: engineers see the versions and their deployments and change them, auditors see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path as PathOnDisk
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query

from orchestrator.answer import answered_with
from orchestrator.defect_routes import Engineer
from orchestrator.model_answers import (
    Answer,
    Deploy,
    DeploymentListed,
    Outcome,
    RequestListed,
    RollBack,
    ShadowShown,
    SwapListed,
    VersionListed,
    VersionShown,
    Withdraw,
)
from orchestrator.person import Person
from orchestrator.recipe import Recipe
from orchestrator.registry import Registry
from orchestrator.review_answers import BODY, MISSING, REFUSED
from storage import deployments
from storage.database import Database
from storage.errors import SecondPersonNeeded
from storage.resolution import Name

TAGS: list[Any] = ["models"]
CHANGES = {**MISSING, **BODY, **answered_with(422, "It cannot be deployed so: the detail says why.")}
Known = Callable[[], AbstractContextManager[Registry]]
Number = Annotated[int, Path(ge=1, lt=2**63)]
Which = Annotated[Name | None, Query(description="This recipe alone.")]


def add_models(app: FastAPI, database: Callable[[], Database], models: PathOnDisk, recipes: dict[str, Recipe]) -> None:
    @contextmanager
    def registry() -> Iterator[Registry]:
        with database().begin() as session:
            yield Registry(session, models, recipes)

    add_looking(app, registry)
    add_changing(app, registry)


def named(who: Person) -> str | None:
    """Whose name stands for one person: who signed in, or sent a token."""
    return who.name if who.way in ("session", "token") else None


def add_looking(app: FastAPI, registry: Known) -> None:
    @app.get("/api/v1/models", tags=TAGS, responses=REFUSED, response_model=list[VersionListed])
    def versions(who: Engineer, recipe: Which = None) -> list[dict[str, Any]]:
        """Model versions, the newest of each recipe first."""
        with registry() as known:
            return known.listed(recipe)

    @app.get("/api/v1/models/{version}", tags=TAGS, responses=MISSING, response_model=VersionShown)
    def version(who: Engineer, version: Name) -> dict[str, Any]:
        """All that is on record of a version."""
        with registry() as known:
            return known.shown(version)

    @app.get("/api/v1/deployments", tags=TAGS, responses=MISSING, response_model=list[DeploymentListed])
    def history(
        who: Engineer, recipe: Which = None, limit: Annotated[int, Query(ge=1, le=10_000)] = 100
    ) -> list[dict[str, Any]]:
        """Who held which alias, the newest first."""
        with registry() as known:
            return known.history(recipe, limit)

    @app.get("/api/v1/deployments/{deployment}/swaps", tags=TAGS, responses=REFUSED, response_model=list[SwapListed])
    def swaps(who: Engineer, deployment: Number) -> list[dict[str, Any]]:
        """Which inference worker scores by a deployment, and since when."""
        with registry() as known:
            return deployments.swaps(known.session, deployment)

    @app.get("/api/v1/deployment-requests", tags=TAGS, responses=REFUSED, response_model=list[RequestListed])
    def requests(
        who: Engineer, recipe: Which = None, state: Literal["waiting", "approved", "refused"] | None = None
    ) -> list[dict[str, Any]]:
        """Deployments that need a second person, the newest first."""
        with registry() as known:
            return deployments.requests(known.session, recipe, state)

    @app.get("/api/v1/shadow/{recipe}", tags=TAGS, responses=MISSING, response_model=ShadowShown)
    def shadow(who: Engineer, recipe: Name, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[str, Any]:
        """How the recipe's challenger differs from who judged meanwhile."""
        with registry() as known:
            return known.shadow(recipe, limit)


def add_changing(app: FastAPI, registry: Known) -> None:
    @app.post("/api/v1/models/{version}/deploy", tags=TAGS, responses=CHANGES, response_model=Outcome)
    def deploy(who: Engineer, version: Name, wish: Deploy) -> dict[str, Any]:
        """Deploy a version; where the recipe asks for two persons, ask for it."""
        with registry() as known:
            known.refuse_unnamed(version, named(who))
            return known.deploy(version, who.name, wish.reason, wish.alias, wish.share)

    @app.post("/api/v1/models/rollback", tags=TAGS, responses=CHANGES, response_model=Outcome)
    def roll_back(who: Engineer, wish: RollBack) -> dict[str, Any]:
        """Make a former champion champion again; one person is enough."""
        with registry() as known:
            return known.roll_back(wish.recipe, who.name, wish.reason, wish.to)

    @app.post("/api/v1/models/withdraw", tags=TAGS, responses=CHANGES, response_model=Outcome)
    def withdraw(who: Engineer, wish: Withdraw) -> dict[str, Any]:
        """From now on nobody is the recipe's canary or challenger."""
        with registry() as known:
            return known.withdraw(wish.recipe, wish.alias, who.name, wish.reason)

    @app.post("/api/v1/deployment-requests/{request}/answer", tags=TAGS, responses=CHANGES, response_model=Outcome)
    def answer(who: Engineer, request: Number, said: Answer) -> dict[str, Any]:
        """Approve or refuse what somebody else asked for."""
        if said.approved and named(who) is None:
            raise SecondPersonNeeded(f"{who.name} is nobody by name: sign in, or send an API token, to approve")
        with registry() as known:
            return known.answer(request, who.name, said.approved, said.reason)
