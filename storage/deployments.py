"""Who holds which alias of a recipe, asked for by whom, approved by whom. Functions take a session, never commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from storage.errors import DeploymentRefused, NotOnRecord, SecondPersonNeeded
from storage.models import Deployment, DeploymentAnswer, DeploymentRequest, ModelSwap, ModelVersion

BY_ITSELF = "adline"
"""Who deployed what nobody asked for by hand."""


class Alias(StrEnum):
    """What a version is to a recipe: it decides, it watches, or it decides of a share of the parts."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    CANARY = "canary"


@dataclass(frozen=True)
class Wish:
    """A deployment that somebody wants."""

    recipe: str
    model_version: str
    by: str
    reason: str
    alias: Alias = Alias.CHAMPION
    share: float = 1.0


NEWEST = text("SELECT max(id) FROM deployments WHERE recipe = :recipe GROUP BY alias")
HISTORY = text(
    """
    SELECT deployment_id, recipe, alias, model_version, share, deployed_at, replaced_at, deployed_by, approved_by,
           reason, first_swapped_at, last_swapped_at
    FROM v_model_deployments WHERE CAST(:recipe AS text) IS NULL OR recipe = :recipe
    ORDER BY deployment_id DESC LIMIT :limit
    """
)
REQUESTS = text(
    """
    SELECT * FROM v_deployment_requests
    WHERE (CAST(:recipe AS text) IS NULL OR recipe = :recipe) AND (CAST(:state AS text) IS NULL OR state = :state)
    ORDER BY request_id DESC LIMIT 1000
    """
)


def lock(session: Session) -> None:
    """Until the transaction ends nobody else deploys or removes a model's files."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('deployments'))"))


def newest(session: Session, recipe: str) -> dict[Alias, Deployment]:
    """The last deployment of each alias; with a share of 0 nobody holds it."""
    ids = session.scalars(NEWEST, {"recipe": recipe}).all()
    found = session.scalars(select(Deployment).where(Deployment.id.in_(ids)).order_by(Deployment.id))
    return {Alias(one.alias): one for one in found}


def holders(session: Session, recipe: str) -> dict[Alias, Deployment]:
    """The deployment in force of each alias that somebody holds."""
    return {alias: one for alias, one in newest(session, recipe).items() if one.share > 0}


def holder(session: Session, recipe: str, alias: Alias = Alias.CHAMPION) -> Deployment | None:
    return holders(session, recipe).get(alias)


def ask(session: Session, wish: Wish, *, two_persons: bool = False) -> Deployment | DeploymentRequest:
    """Deploy, or, where another person has to approve it, put the request on record."""
    refuse(session, wish)
    if not two_persons:
        return carry_out(session, wish)
    request = DeploymentRequest(
        recipe=wish.recipe,
        alias=wish.alias,
        model_version=wish.model_version,
        share=wish.share,
        requested_by=wish.by,
        reason=wish.reason,
    )
    session.add(request)
    session.flush()
    return request


def refuse(session: Session, wish: Wish) -> None:
    """DeploymentRefused when the version cannot hold the alias; NotOnRecord when there is no such version."""
    version = version_of(session, wish.model_version)
    if version.recipe != wish.recipe:
        raise DeploymentRefused(f"model {version.id} was made for recipe {version.recipe}, not for {wish.recipe}")
    if not wish.reason.strip():
        raise DeploymentRefused("a deployment needs a reason; it stays on record")
    if not 0 < wish.share <= 1 or (wish.share < 1 and wish.alias is Alias.CHAMPION):
        raise DeploymentRefused(
            f"share {wish.share:g}: allowed is above 0, at most 1, and for the champion nothing but 1"
        )
    champion = holder(session, wish.recipe)
    if wish.alias is not Alias.CHAMPION and champion is None:
        raise DeploymentRefused(f"recipe {wish.recipe} has no champion that {wish.model_version} could stand beside")
    if champion is not None and champion.model_version == wish.model_version:
        raise DeploymentRefused(f"model {wish.model_version} is the champion of {wish.recipe} already")


def version_of(session: Session, model_version: str) -> ModelVersion:
    found = session.get(ModelVersion, model_version)
    if found is None:
        raise NotOnRecord(f"no model version {model_version!r} is on record; `adline model list` shows them")
    return found


def carry_out(
    session: Session, wish: Wish, *, approved_by: str | None = None, request_id: int | None = None
) -> Deployment:
    """From now on this version holds the alias; one that becomes champion holds no other any more."""
    lock(session)
    deployment = add(session, wish, approved_by, request_id)
    if wish.alias is Alias.CHAMPION:
        for alias, other in holders(session, wish.recipe).items():
            if alias is not Alias.CHAMPION and other.model_version == wish.model_version:
                withdraw(session, wish.recipe, alias, wish.by, "it is the champion now")
    return deployment


def add(session: Session, wish: Wish, approved_by: str | None = None, request_id: int | None = None) -> Deployment:
    deployment = Deployment(
        recipe=wish.recipe,
        alias=wish.alias,
        model_version=wish.model_version,
        share=wish.share,
        deployed_at=func.clock_timestamp(),
        deployed_by=wish.by,
        approved_by=approved_by,
        request_id=request_id,
        reason=wish.reason,
    )
    session.add(deployment)
    session.flush()
    return deployment


def withdraw(session: Session, recipe: str, alias: Alias, by: str, reason: str) -> Deployment:
    """Nobody holds the alias from now on; DeploymentRefused for the champion, and when nobody holds it."""
    if alias is Alias.CHAMPION:
        raise DeploymentRefused(f"recipe {recipe} needs a champion; deploy another one instead")
    held = holder(session, recipe, alias)
    if held is None:
        raise DeploymentRefused(f"recipe {recipe} has no {alias}")
    return add(session, Wish(recipe, held.model_version, by, reason, alias, 0.0))


# The second person


def answer(session: Session, request_id: int, by: str, approved: bool, reason: str) -> Deployment | None:
    """Say yes or no to a request; the deployment that came of it. SecondPersonNeeded when the same person asked."""
    lock(session)
    request = session.get(DeploymentRequest, request_id)
    if request is None:
        raise NotOnRecord(f"there is no request {request_id}; `adline model requests` shows them")
    if approved and request.requested_by == by:
        raise SecondPersonNeeded(f"request {request_id} was made by {by}: another person has to approve it")
    given = session.get(DeploymentAnswer, request_id)
    if given is not None:
        said = "approved" if given.approved else "refused"
        raise DeploymentRefused(f"request {request_id} was {said} by {given.answered_by} already")
    session.add(DeploymentAnswer(request_id=request_id, approved=approved, answered_by=by, reason=reason))
    session.flush()
    if not approved:
        return None
    wish = Wish(
        recipe=request.recipe,
        model_version=request.model_version,
        by=request.requested_by,
        reason=request.reason,
        alias=Alias(request.alias),
        share=request.share,
    )
    refuse(session, wish)
    return carry_out(session, wish, approved_by=by, request_id=request_id)


def requested_version(session: Session, request_id: int) -> ModelVersion:
    """The version that a request is about."""
    request = session.get(DeploymentRequest, request_id)
    if request is None:
        raise NotOnRecord(f"there is no request {request_id}; `adline model requests` shows them")
    return version_of(session, request.model_version)


# Looking back


def version_before(champions: Sequence[str]) -> str | None:
    """Which version a rollback goes back to, given all champions in their order.

    A version that returns takes those that came after it off the pile: a second rollback goes back further.
    """
    pile: list[str] = []
    for version in champions:
        pile = pile[: pile.index(version) + 1] if version in pile else [*pile, version]
    if len(pile) > 1:
        return pile[-2]
    return next((one for one in reversed(champions) if one != champions[-1]), None)


def champions(session: Session, recipe: str) -> list[str]:
    """Every version that was champion, in the order of their deployments."""
    deployed = select(Deployment.model_version).where(
        Deployment.recipe == recipe, Deployment.alias == Alias.CHAMPION, Deployment.share > 0
    )
    return list(session.scalars(deployed.order_by(Deployment.id)))


def roll_back(session: Session, recipe: str, by: str, reason: str, to: str | None = None) -> Deployment:
    """Make a former champion champion again, without a second person: when parts are judged wrongly, nobody waits."""
    known = champions(session, recipe)
    wanted = to or (version_before(known) if known else None)
    if wanted is None:
        raise DeploymentRefused(f"recipe {recipe} had no other champion before; `adline model history` shows them")
    if to is not None and to not in known:
        former = ", ".join(sorted(set(known))) or "none"
        raise DeploymentRefused(f"{to} was never champion of {recipe}; deploy it instead. Former champions: {former}")
    wish = Wish(recipe, wanted, by, reason)
    refuse(session, wish)
    return carry_out(session, wish)


def history(session: Session, recipe: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Deployments, the newest first."""
    return [dict(row) for row in session.execute(HISTORY, {"recipe": recipe, "limit": limit}).mappings()]


def requests(session: Session, recipe: str | None = None, state: str | None = None) -> list[dict[str, Any]]:
    """Requests for deployments, the newest first."""
    return [dict(row) for row in session.execute(REQUESTS, {"recipe": recipe, "state": state}).mappings()]


def swaps(session: Session, deployment_id: int) -> list[dict[str, Any]]:
    """Which worker began to score by this deployment, and when."""
    query = text("SELECT * FROM v_model_swaps WHERE deployment_id = :id ORDER BY swapped_at")
    return [dict(row) for row in session.execute(query, {"id": deployment_id}).mappings()]


def note_swaps(session: Session, swaps: Sequence[ModelSwap]) -> None:
    session.add_all(swaps)
    session.flush()
