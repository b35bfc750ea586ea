"""Model versions and who holds which alias: what people and programs ask of them, over the API or beside the line."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from orchestrator.recipe import Recipe
from storage import deployments, model_versions
from storage.deployments import Alias, Wish
from storage.errors import DeploymentRefused, ModelError, NotOnRecord, SecondPersonNeeded
from storage.model_files import check_model
from storage.models import Deployment, DeploymentRequest

MOST_CHANGED = 1000


class Registry:
    """The versions of a line: the rows of a session, the files of a folder, the recipes' rules."""

    def __init__(self, session: Session, models: Path, recipes: Mapping[str, Recipe]) -> None:
        self.session, self.models, self.recipes = session, models, recipes

    def listed(self, recipe: str | None = None) -> list[dict[str, Any]]:
        return model_versions.listed(self.session, recipe)

    def shown(self, id: str) -> dict[str, Any]:
        """All that is on record of a version, and whether its files are what they were."""
        deployments.version_of(self.session, id)
        (row,) = model_versions.listed(self.session, id=id)
        held = [one for one in deployments.history(self.session, row["recipe"], 10_000) if one["model_version"] == id]
        return {
            **row,
            **model_versions.detail(self.session, id),
            "files": self.files(id),
            "parts": model_versions.judged(self.session, id),
            "deployments": held,
            "shadow": model_versions.shadow(self.session, row["recipe"], id),
        }

    def files(self, id: str) -> str:
        """`intact`, or what is wrong with the files."""
        try:
            self.check(id)
        except ModelError as error:
            return str(error)
        return "intact"

    def check(self, id: str) -> None:
        """ModelMissing or ModelAltered when the version's files are not those that were registered."""
        check_model(self.models / id, deployments.version_of(self.session, id).sha256)

    def needs_two(self, recipe: str) -> bool:
        """Whether the recipe's deployments need a second person."""
        found = self.recipes.get(recipe)
        return found is not None and found.approval == "two"

    def refuse_unnamed(self, id: str, person: str | None) -> None:
        """Two persons are two only when each shows who they are."""
        if person is None and self.needs_two(deployments.version_of(self.session, id).recipe):
            raise SecondPersonNeeded(
                "this recipe's deployments need two persons: show who you are, by signing in or with an API token "
                "(`adline user token add`, --token-file)"
            )

    def deploy(
        self, id: str, by: str, reason: str, alias: Alias = Alias.CHAMPION, share: float = 1.0
    ) -> dict[str, Any]:
        """Deploy a version or ask for it; refused before it is recorded when its files are missing or altered."""
        deployments.lock(self.session)
        version = deployments.version_of(self.session, id)
        self.check(id)
        wish = Wish(version.recipe, id, by, reason.strip(), alias, share)
        return outcome(deployments.ask(self.session, wish, two_persons=self.needs_two(version.recipe)))

    def roll_back(self, recipe: str, by: str, reason: str, to: str | None = None) -> dict[str, Any]:
        """Back to a former champion, with a reason; one person is enough."""
        if not reason.strip():
            raise DeploymentRefused("a rollback needs a reason; it stays on record")
        self.known(recipe)
        made = deployments.roll_back(self.session, recipe, by, reason.strip(), to)
        self.check(made.model_version)  # what cannot be used is not recorded: the transaction ends with this error
        return outcome(made)

    def withdraw(self, recipe: str, alias: Alias, by: str, reason: str) -> dict[str, Any]:
        """From now on nobody is the recipe's canary or challenger."""
        if not reason.strip():
            raise DeploymentRefused("say why; it stays on record")
        return outcome(deployments.withdraw(self.session, recipe, alias, by, reason.strip()))

    def answer(self, request_id: int, by: str, approved: bool, reason: str) -> dict[str, Any]:
        """What the second person says of a request."""
        deployments.lock(self.session)
        if approved:
            self.check(deployments.requested_version(self.session, request_id).id)
        made = deployments.answer(self.session, request_id, by, approved, reason.strip())
        return outcome(made) if made else {"state": "refused", "request_id": request_id, "deployment_id": None}

    def history(self, recipe: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        if recipe is not None:
            self.known(recipe)
        return deployments.history(self.session, recipe, limit)

    def known(self, recipe: str) -> None:
        if not deployments.newest(self.session, recipe):
            raise NotOnRecord(f"recipe {recipe!r} has no deployment on record")

    def shadow(self, recipe: str, limit: int = 100) -> dict[str, Any]:
        """How the recipe's challenger, or the last there was, differs from who judged meanwhile."""
        found = deployments.newest(self.session, recipe).get(Alias.CHALLENGER)
        if found is None:
            raise NotOnRecord(f"recipe {recipe!r} never had a challenger; `adline model deploy --as challenger`")
        challenger = found.model_version
        since = next(
            one["deployed_at"]
            for one in deployments.history(self.session, recipe, 10_000)
            if one["alias"] == Alias.CHALLENGER and one["model_version"] == challenger and one["share"] > 0
        )
        return {
            "recipe": recipe,
            "challenger": challenger,
            "watches": found.share > 0,
            "deployed_at": since,
            "beside": model_versions.shadow(self.session, recipe, challenger),
            "not_scored": model_versions.missed(self.session, recipe, challenger, since),
            "changed": model_versions.different(self.session, recipe, challenger, limit),
        }

    def prune(self, keep: int) -> list[str]:
        """Remove the files of candidates that never judged a part and never were deployed; the rows stay."""
        deployments.lock(self.session)
        found = model_versions.disposable(model_versions.listed(self.session), keep)
        removed = []
        for id in found:
            folder = self.models / id
            if folder.is_dir():
                shutil.rmtree(folder)
                removed.append(id)
        return removed


def outcome(made: Deployment | DeploymentRequest) -> dict[str, Any]:
    """What came of a wish: deployed, or waiting for a second person."""
    known = {"recipe": made.recipe, "alias": str(made.alias), "model_version": made.model_version, "share": made.share}
    if isinstance(made, DeploymentRequest):
        return {"state": "waiting", **known, "request_id": made.id, "deployment_id": None, "reason": made.reason}
    return {
        "state": "deployed",
        **known,
        "request_id": made.request_id,
        "deployment_id": made.id,
        "deployed_at": made.deployed_at,
        "deployed_by": made.deployed_by,
        "approved_by": made.approved_by,
        "reason": made.reason,
    }
