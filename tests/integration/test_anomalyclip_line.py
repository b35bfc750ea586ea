"""AnomalyCLIP from the recipe to the record, worker by worker: zero-shot on day 0, few-shot with known-good parts."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sqlalchemy import select

from orchestrator.recipe import Recipe
from orchestrator.weights import missing_weights, named_weights
from storage import model_versions, records
from storage.errors import ModelShapeWrong, SettingsError, WeightsMissing
from storage.events import FrameCaptured, InspectionDecided
from storage.image_store import ImageStore
from storage.images import describe
from storage.model_files import check_model
from storage.models import Deployment, ModelVersion, Prediction
from storage.stream import EventLog
from tests.facts import MODEL, Plant, frame
from tests.unit import tiny_weights
from tests.unit.configuration_files import load as load_configuration
from tests.unit.tiny_clip import Shape
from workers.consumer import Delivery
from workers.detectors.registry import load
from workers.hot import NoHotFrames
from workers.inference.champions import Champions
from workers.inference.plan import RecipePlan
from workers.inference.worker import InferenceWorker
from workers.recorder import Recorder
from workers.retrain.teacher import Teacher

NAME = "castings"
SIDE = 64


def casting(seed: int, damaged: bool = False) -> bytes:
    """A grained grey surface; damaged, it has a bright inclusion."""
    draw = np.random.default_rng(seed)
    pixels = draw.normal(110, 12, size=(80, 80)).clip(0, 255).astype(np.uint8)
    if damaged:
        pixels[20:44, 30:54] = 250
    return cv2.imencode(".png", pixels)[1].tobytes()


def recipe(**facts: Any) -> dict[str, Any]:
    given = {
        "detector": "anomalyclip",
        "clip": tiny_weights.CLIP,
        "prompts": tiny_weights.PROMPTS,
        "dpam_layer": 2,
        "image_size": SIDE,
        "target_false_reject_rate": 0.2,
    }
    return Recipe.model_validate(given | facts).model_dump()


class Workshop:
    """Teacher, inference worker and recorder of one plant, run by hand."""

    def __init__(self, log: EventLog, stream_url: str, plant: Plant, folder: Path) -> None:
        self.log, self.stream_url, self.plant = log, stream_url, plant
        self.models, self.store = folder / "models", ImageStore(folder / "images")
        self.good = folder / "known-good"
        self.keys = [log.key(FrameCaptured), log.key(InspectionDecided)]
        log.create_group(self.keys[:1], "inference")
        log.create_group(self.keys, "record")

    def teacher(self) -> Teacher:
        url = self.plant.database.url
        return Teacher(database_url=url, models=self.models, recipes={}, maximum_megapixels=1.0)

    def teach(self, **facts: Any) -> ModelVersion:
        self.teacher().teach(NAME, recipe(**facts), threading.Event())
        with self.plant.database.begin() as session:
            version = records.deployed_model(session, NAME)
        assert version is not None
        return version

    def few_shot(self, **teach: Any) -> ModelVersion:
        return self.few_shot_of(12, teach=teach)

    def few_shot_of(self, count: int, teach: dict[str, Any] | None = None, **facts: Any) -> ModelVersion:
        self.good.mkdir()
        for seed in range(count):
            (self.good / f"{seed:03}.png").write_bytes(casting(seed))
        return self.teach(teach={"kind": "folder", "path": self.good, **(teach or {})}, **facts)

    def inspect(self, *images: bytes) -> list[Prediction]:
        """Score stored frames and record what was said of them."""
        captured = [self.captured(data) for data in images]
        self.log.publish(*captured)
        worker = self.inference_worker()
        worker.champions.refresh()
        worker.handle(self.log.read("inference", "inference-0", self.keys[:1], 100, 10))
        self.recorder().handle(self.log.read("record", "record", self.keys, 100, 10))
        with self.plant.database.begin() as session:
            found = {one.inspection_id: one for one in session.scalars(select(Prediction))}
        return [found[event.trigger.inspection_id] for event in captured]

    def captured(self, data: bytes) -> FrameCaptured:
        stored, seen = self.store.put(data, ".png"), describe(data)
        facts = frame(data=data, sha256=stored.sha256, width=seen.width, height=seen.height)
        return self.plant.captured(None, facts).model_copy(update={"recipe": NAME})

    def inference_worker(self) -> InferenceWorker:
        url = self.plant.database.url
        worker = InferenceWorker(
            stream_url=self.stream_url,
            database_url=url,
            images=self.store.root,
            models=self.models,
            minimum_free_bytes=0,
            maximum_megapixels=1.0,
            minimum_side_pixels=1,
            recipes={NAME: RecipePlan(image_size=SIDE, sample_rate=0.0)},
            delivery=Delivery("inference", "inference-0", batch_size=32),
            hot=NoHotFrames(),
            device="cpu",
            threads=1,
        )
        worker.champions = Champions(worker.database, self.models, [NAME], partial(load, device="cpu"))
        return worker

    def recorder(self) -> Recorder:
        return Recorder(
            stream_url=self.stream_url,
            database_url=self.plant.database.url,
            images=self.store.root,
            minimum_free_bytes=0,
            delivery=Delivery("record", "record", batch_size=64),
            sweep_seconds=60.0,
            give_up_seconds=60.0,
            ageing_seconds=28_800.0,
        )


@pytest.fixture
def workshop(log: EventLog, stream_url: str, plant: Plant, tmp_path: Path) -> Workshop:
    tiny_weights.store_clip(tmp_path / "models")
    tiny_weights.store_prompts(tmp_path / "models")
    return Workshop(log, stream_url, plant, tmp_path)


def test_on_day_0_parts_are_judged_without_a_known_good_one_and_nothing_is_promised(workshop: Workshop) -> None:
    version = workshop.teach()
    assert version.detector == "anomalyclip" and version.configuration["taught_from"] == []
    assert version.ok_threshold == version.ng_threshold == 0.5
    assert "nothing is promised about false rejects" in version.metrics["promise"]
    check_model(workshop.models / version.id, version.sha256)
    with workshop.plant.database.begin() as session:
        (reason,) = session.scalars(select(Deployment.reason).where(Deployment.model_version == version.id))
    assert "nothing is promised about false rejects" in reason
    judged = workshop.inspect(casting(100), casting(101, damaged=True))
    assert [one.model_version for one in judged] == [version.id] * 2
    assert all(one.anomaly_score == pytest.approx(one.raw_score) for one in judged)
    assert all(sum(one.probabilities.values()) == pytest.approx(1) for one in judged)
    assert {(one.ok_threshold, one.ng_threshold) for one in judged} == {(0.5, 0.5)}


def test_with_known_good_parts_the_thresholds_are_calibrated_and_damage_is_seen(workshop: Workshop) -> None:
    version = workshop.few_shot()
    calibration = version.metrics["calibration"]
    assert len(calibration["good_raw_scores"]) == 4 and calibration["target_false_reject_rate"] == 0.2
    assert version.metrics["promise"].endswith("calibrated on 4 held-out good ones")
    taught = {(one["image"], one["sha256"]) for one in version.configuration["taught_from"]}
    images = sorted(workshop.good.iterdir())
    assert taught == {(image.name, hashlib.sha256(image.read_bytes()).hexdigest()) for image in images}
    with workshop.plant.database.begin() as session:
        hidden = model_versions.taught_from(session, version.recipe)
        assert hidden == {sha256 for _, sha256 in taught} and len(hidden) == 12
        assert model_versions.taught_from(session, "another") == frozenset()
    damaged = [casting(seed, damaged=True) for seed in range(200, 204)]
    judged = workshop.inspect(*(casting(seed) for seed in range(100, 104)), *damaged)
    assert all(one.worker for one in judged), "which worker scored it is on record"
    assert all(one.projections is not None and len(one.projections) == 8 for one in judged), "and what drift compares"
    scores = [one.anomaly_score for one in judged]
    assert max(scores[:4]) < min(scores[4:])
    assert all(score >= version.ng_threshold for score in scores[4:])
    # Beside the score, what makes it comparable with another model's.
    assert all(one.probabilities["percentile_of_good"] == 100 for one in judged[4:])
    assert {one.probabilities["percentile_of_good"] for one in judged[:4]} <= {0, 25, 50, 75, 100}


def test_images_of_one_part_are_remembered_or_held_out_together(workshop: Workshop, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("image,group\n" + "".join(f"{seed:03}.png,{seed // 2}\n" for seed in range(12)))
    calibration = workshop.few_shot(groups=groups).metrics["calibration"]
    assert len(calibration["good_raw_scores"]) == 8
    assert sorted(calibration["good_parts"]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_two_recipes_on_the_same_weights_are_two_models(workshop: Workshop) -> None:
    first = workshop.teach()
    second = workshop.teach()
    assert first.id != second.id and first.sha256 != second.sha256
    files = [workshop.models / one.id / "clip.safetensors" for one in (first, second)]
    assert files[0].samefile(files[1])


def test_too_few_known_good_parts_are_refused_with_the_number_needed(workshop: Workshop) -> None:
    teacher = workshop.teacher()
    workshop.good.mkdir()
    (workshop.good / "1.png").write_bytes(casting(1))
    teacher.recipes = {NAME: recipe(teach={"kind": "folder", "path": workshop.good})}
    stopped = threading.Thread(target=teacher.run, args=(stop := threading.Event(),))
    stopped.start()
    while teacher.status.state not in ("failed", "done"):
        stop.wait(0.05)
    stop.set()
    stopped.join()
    assert teacher.status.state == "failed"
    assert "1 known-good images were given; a false-reject rate of 0.2 needs at least" in teacher.status.detail


def test_weights_that_are_not_there_are_told_with_the_command_that_gets_them(workshop: Workshop) -> None:
    for missing, told in (({"clip": "ViT-L/14"}, "model pull ViT-L-14:openai"), ({"prompts": "mine"}, "--name mine")):
        with pytest.raises(WeightsMissing, match=told):
            workshop.teach(**missing)
        with pytest.raises(WeightsMissing, match=told):
            named_weights(Recipe.model_validate(recipe(**missing)), workshop.models)
    assert len(named_weights(Recipe.model_validate(recipe()), workshop.models)) == 2


def test_prompts_and_choices_that_do_not_fit_the_weights_are_refused(workshop: Workshop) -> None:
    tiny_weights.store_prompts(workshop.models, seed=1)
    with pytest.raises(ModelShapeWrong, match="learned on another CLIP"):
        workshop.teach()
    tiny_weights.store_prompts(workshop.models, Shape(text_width=128))
    with pytest.raises(ModelShapeWrong, match="learned on a CLIP of text width 128, this one has 64"):
        workshop.teach()
    tiny_weights.store_prompts(workshop.models)
    with pytest.raises(SettingsError, match=r"features_list: given \[9\], allowed rising block numbers from 1 to 3"):
        workshop.teach(features_list=[9])
    with workshop.plant.database.begin() as session:
        assert session.scalars(select(ModelVersion.id)).all() == [MODEL]


def test_patchcore_sees_parts_with_the_clip_its_recipe_names(workshop: Workshop) -> None:
    facts: dict[str, Any] = {"detector": "patchcore", "backbone": tiny_weights.CLIP}
    version = workshop.few_shot_of(24, **facts)
    folder = workshop.models / version.id
    check_model(folder, version.sha256)
    assert (folder / "clip.safetensors").samefile(named_weights(Recipe.model_validate(facts), workshop.models)[0].file)
    good, bad = workshop.inspect(casting(100), casting(101, damaged=True))
    assert good.anomaly_score < version.ng_threshold <= bad.anomaly_score
    with pytest.raises(WeightsMissing, match="model pull ViT-B-16:openai"):
        workshop.teach(**facts | {"backbone": "ViT-B/16"}, teach={"kind": "folder", "path": workshop.good})


def test_a_line_names_what_its_recipes_lack_before_it_starts(tmp_path: Path) -> None:
    text = '[recipes.a]\n[recipes.b]\ndetector = "anomalyclip"\nclip = "ViT-B/32"\nprompts = "epoch_15"\n'
    text += '[recipes.c]\nbackbone = "ViT-B/16"\n'
    settings = load_configuration(tmp_path, text).settings
    missing = missing_weights(settings, ["a", "b", "c"], tmp_path / "models")
    assert list(missing) == ["b", "c"] and "adline model pull ViT-B-32:openai" in str(missing["b"])
    assert "adline model pull ViT-B-16:openai" in str(missing["c"])
