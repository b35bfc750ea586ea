"""Deployments on a real database: aliases, the second person, the way back."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage import deployments, records
from storage.deployments import Alias, Wish, version_before
from storage.errors import DeploymentRefused, NotOnRecord, SecondPersonNeeded
from storage.models import Deployment, DeploymentRequest
from tests.facts import MODEL, RECIPE, Plant, model


@pytest.fixture
def versions(plant: Plant) -> Plant:
    """Two more versions, deployed nowhere."""
    with plant.database.begin() as session:
        for name in ("second", "third"):
            records.register_model(session, model(name, parent=MODEL))
    return plant


def held(session: Session) -> dict[str, tuple[str, float]]:
    found = deployments.holders(session, RECIPE)
    return {alias.value: (one.model_version, one.share) for alias, one in found.items()}


def test_each_alias_has_its_own_holder(versions: Plant) -> None:
    with versions.database.begin() as session:
        deployments.ask(session, Wish(RECIPE, "second", "anna", "watch it", Alias.CHALLENGER))
        deployments.ask(session, Wish(RECIPE, "third", "anna", "try it", Alias.CANARY, 0.2))
        assert held(session) == {"champion": (MODEL, 1), "challenger": ("second", 1), "canary": ("third", 0.2)}
        deployments.withdraw(session, RECIPE, Alias.CANARY, "adline", "its verdicts drifted")
        assert held(session) == {"champion": (MODEL, 1), "challenger": ("second", 1)}
        assert records.deployed_model(session, RECIPE, "canary") is None


def test_a_version_that_becomes_champion_holds_no_other_alias_any_more(versions: Plant) -> None:
    with versions.database.begin() as session:
        deployments.ask(session, Wish(RECIPE, "second", "anna", "watch it", Alias.CHALLENGER))
        deployments.ask(session, Wish(RECIPE, "third", "anna", "try it", Alias.CANARY, 0.2))
        deployments.ask(session, Wish(RECIPE, "third", "anna", "it is better"))
        assert held(session) == {"champion": ("third", 1), "challenger": ("second", 1)}
        # What it was before does not come back with the next champion.
        deployments.roll_back(session, RECIPE, "anna", "more escapes")
        assert held(session) == {"champion": (MODEL, 1), "challenger": ("second", 1)}


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(RECIPE, MODEL, "anna", "again"), "champion of bracket already"),
        (Wish(RECIPE, MODEL, "anna", "watch", Alias.CHALLENGER), "champion of bracket already"),
        (Wish("cells", "second", "anna", "why not"), "made for recipe bracket, not for cells"),
        (Wish(RECIPE, "second", "anna", " "), "needs a reason"),
        (Wish(RECIPE, "second", "anna", "half", share=0.5), "for the champion nothing but 1"),
        (Wish(RECIPE, "second", "anna", "none", Alias.CANARY, 0.0), "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_it_is_recorded(versions: Plant, wish: Wish, words: str) -> None:
    with versions.database.begin() as session:
        with pytest.raises(DeploymentRefused, match=words):
            deployments.ask(session, wish)
        assert len(deployments.history(session)) == 1


def test_a_version_nobody_knows_is_not_on_record(versions: Plant) -> None:
    with versions.database.begin() as session, pytest.raises(NotOnRecord, match="no model version 'fourth'"):
        deployments.ask(session, Wish(RECIPE, "fourth", "anna", "why not"))


def test_where_two_persons_are_needed_one_asks_and_another_approves(versions: Plant) -> None:
    with versions.database.begin() as session:
        request = deployments.ask(session, Wish(RECIPE, "second", "anna", "better"), two_persons=True)
        assert isinstance(request, DeploymentRequest)
        assert held(session) == {"champion": (MODEL, 1)}
        with pytest.raises(SecondPersonNeeded, match="made by anna: another person"):
            deployments.answer(session, request.id, "anna", True, "sure")
        made = deployments.answer(session, request.id, "bert", True, "agreed")
        assert isinstance(made, Deployment)
        assert (made.deployed_by, made.approved_by, made.request_id) == ("anna", "bert", request.id)
        assert held(session) == {"champion": ("second", 1)}
        with pytest.raises(DeploymentRefused, match="was approved by bert already"):
            deployments.answer(session, request.id, "carl", False, "too late")


def test_a_refused_request_deploys_nothing_and_stays_on_record(versions: Plant) -> None:
    with versions.database.begin() as session:
        request = deployments.ask(session, Wish(RECIPE, "second", "anna", "better"), two_persons=True)
        assert isinstance(request, DeploymentRequest)
        assert deployments.answer(session, request.id, "bert", False, "scratches are missed") is None
        assert held(session) == {"champion": (MODEL, 1)}
        (row,) = deployments.requests(session, RECIPE)
    assert (row["state"], row["answered_by"], row["answer_reason"]) == ("refused", "bert", "scratches are missed")


@pytest.mark.parametrize(
    ("champions", "before"),
    [
        (["a"], None),
        (["a", "b"], "a"),
        (["a", "b", "a"], "b"),
        (["a", "b", "c", "b"], "a"),
        (["a", "b", "c", "b", "a"], "b"),
        (["a", "b", "a", "b"], "a"),
    ],
)
def test_a_second_rollback_goes_back_further(champions: list[str], before: str | None) -> None:
    assert version_before(champions) == before


def test_a_rollback_goes_to_former_champions_only(versions: Plant) -> None:
    with versions.database.begin() as session:
        with pytest.raises(DeploymentRefused, match="no other champion before"):
            deployments.roll_back(session, RECIPE, "anna", "escapes")
        with pytest.raises(DeploymentRefused, match="third was never champion of bracket"):
            deployments.roll_back(session, RECIPE, "anna", "escapes", to="third")
        records.deploy(session, RECIPE, "second", "anna", "better")
        assert deployments.roll_back(session, RECIPE, "bert", "escapes").model_version == MODEL
        rows = deployments.history(session, RECIPE)
    assert [(row["model_version"], row["deployed_by"]) for row in rows] == [
        (MODEL, "bert"),
        ("second", "anna"),
        (MODEL, "test"),
    ]
    assert rows[1]["replaced_at"] == rows[0]["deployed_at"] and rows[0]["replaced_at"] is None
