"""Inference on real services: what cannot be scored is that part's ERROR alone, and models change between batches."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from storage import deployments, records, thresholds
from storage.deployments import Alias, Wish
from storage.errors import DiskFull, ModelAltered, ModelError, ModelMissing
from storage.events import FrameCaptured, FrameFacts, InspectionDecided, PartShadowed, Verdict, now
from storage.images import ImageStore, describe, encode
from storage.stream import EventLog
from storage.thresholds import Thresholds
from tests.facts import MODEL, RECIPE, Plant, frame, model, picture
from tests.integration.brightness import CRASH, NOT_A_NUMBER, REFUSED, Brightness
from workers.consumer import Delivery
from workers.detectors.detector import Detector
from workers.hot import NoHotFrames
from workers.inference.champions import Champions
from workers.inference.heatmap import decode_map
from workers.inference.plan import RecipePlan
from workers.inference.worker import InferenceWorker


class Bench:
    """An inference worker with a detector made by hand, and what it decided."""

    def __init__(self, log: EventLog, stream_url: str, plant: Plant, folder: Path, **arguments: object) -> None:
        self.log, self.plant, self.store = log, plant, ImageStore(folder / "images")
        self.loaded: list[str] = []
        self.broken: dict[str, ModelError] = {}
        facts = {
            "stream_url": stream_url,
            "database_url": plant.database.url,
            "images": folder / "images",
            "models": folder / "models",
            "minimum_free_bytes": 0,
            "maximum_megapixels": 1.0,
            "minimum_side_pixels": 8,
            "recipes": {RECIPE: RecipePlan(image_size=32, sample_rate=0.0)},
            "delivery": Delivery("inference", "inference-0", batch_size=32),
            "hot": NoHotFrames(),
            "device": "cpu",
            "threads": 1,
        }
        self.worker = InferenceWorker(**{**facts, **arguments})  # type: ignore[arg-type]  # facts by name
        self.worker.champions = Champions(self.worker.database, folder / "models", list(self.worker.recipes), self.load)
        self.key, self.told = log.key(FrameCaptured), log.key(InspectionDecided)
        log.create_group([self.key], "inference")
        log.create_group([self.told], "record")

    def load(self, folder: Path, sha256: str) -> Detector:
        self.loaded.append(folder.name)
        if folder.name in self.broken:
            raise self.broken[folder.name]
        return Brightness(version=folder.name)

    def refresh(self) -> None:
        """Look what is deployed, and wait until it is loaded."""
        champions = self.worker.champions
        champions.look_at = 0.0
        self.worker.refresh()
        wait([future for _, future in champions.loading.values()])
        self.worker.refresh()

    def part(self, *shades: int | bytes, **facts: object) -> FrameCaptured:
        frames = [self.frame(f"camera-{place}", shade) for place, shade in enumerate(shades, 1)]
        event = self.plant.captured(None, *frames)
        return event.model_copy(update={"frames": tuple(frames), **facts})

    def frame(self, camera: str, content: int | bytes) -> FrameFacts:
        data = picture(content) if isinstance(content, int) else content
        stored = self.store.put(data, ".png")
        facts = {"width": 0, "height": 0}
        if isinstance(content, int) or len(content) > 100:
            seen = describe(data)
            facts = {"width": seen.width, "height": seen.height}
        return frame(camera, data, sha256=stored.sha256, **facts)

    def decide(self, *parts: FrameCaptured) -> list[InspectionDecided]:
        self.refresh()
        self.log.publish(*parts)
        self.worker.handle(self.log.read("inference", "inference-0", [self.key], 100, 10))
        entries = self.log.read("record", "r", [self.told], 100, 10)
        assert self.log.backlog(self.key, "inference") == 0
        decided = [entry.event for entry in entries]
        assert [event.trigger.inspection_id for event in decided] == [part.trigger.inspection_id for part in parts]  # type: ignore[attr-defined]
        return decided  # type: ignore[return-value]  # decisions alone are told there

    @property
    def detector(self) -> Brightness:
        return self.worker.champions.loaded[RECIPE].detector  # type: ignore[return-value]  # made above


@pytest.fixture
def bench(log: EventLog, stream_url: str, plant: Plant, tmp_path: Path) -> Bench:
    return Bench(log, stream_url, plant, tmp_path)


def test_a_batch_is_one_forward_pass_and_each_part_gets_its_own_verdict(bench: Bench) -> None:
    decided = bench.decide(bench.part(20), bench.part(120), bench.part(240), bench.part(20, 240))
    assert [event.verdict for event in decided] == ["OK", "REVIEW", "NG", "NG"]
    assert bench.detector.batches == [5]
    assert decided[3].reason.startswith("camera-2: anomaly score 0.9600 >= NG threshold")
    assert {facts.model_version for event in decided for facts in event.predictions} == {MODEL}
    assert {"inference_queue", "fetch", "score"} <= decided[0].stage_milliseconds.keys()


def test_the_map_is_kept_for_what_a_person_may_look_at(bench: Bench) -> None:
    good, bad = bench.decide(bench.part(20), bench.part(240))
    assert good.predictions[0].map_sha256 is None
    kept = bad.predictions[0].map_sha256
    assert kept is not None
    assert decode_map(bench.store.get(kept)) == pytest.approx(0.96, abs=1e-4)


@pytest.mark.parametrize("shade", [REFUSED, NOT_A_NUMBER])
def test_a_score_that_is_no_number_is_an_error_of_that_part_alone(bench: Bench, shade: int) -> None:
    good, bad, mixed = bench.decide(bench.part(20), bench.part(shade), bench.part(20, shade))
    assert (good.verdict, bad.verdict, mixed.verdict) == ("OK", "ERROR", "ERROR")
    assert bad.predictions == mixed.predictions == () and bad.frames


def test_an_image_that_cannot_be_read_is_an_error_that_says_why(bench: Bench) -> None:
    missing, altered = bench.part(20), bench.part(21)
    missing = missing.model_copy(update={"frames": (frame("camera-1", b"never stored"),)})
    path = bench.store.path(altered.frames[0].sha256)
    path.write_bytes(picture(22))
    cut = picture(23)[:60]
    huge, tiny = picture(24, 1200, 1200), picture(25, 4, 60)
    parts = [missing, altered, bench.part(cut), bench.part(b"no image"), bench.part(huge), bench.part(tiny)]
    decided = bench.decide(bench.part(20), *parts, bench.part())
    assert [event.verdict for event in decided] == ["OK"] + ["ERROR"] * 7
    for event, words in zip(
        decided[1:],
        ["not there", "altered", "", "", "megapixels", "minimum_side_pixels", "no view"],
        strict=True,
    ):
        assert words in event.reason and event.reason


def test_an_image_file_without_all_of_its_pixels_is_an_error(bench: Bench) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    whole = encode(pixels, "jpeg")
    third = whole[: len(whole) // 3].rstrip(b"\xff") + b"\xff\xd9"
    given = []
    for data in (whole, third):
        bench.store.put(data, ".jpg")
        named = frame("camera-1", data, media_type="image/jpeg", source="a.jpg")
        given.append(bench.part(20).model_copy(update={"frames": (named,)}))
    good, cut = bench.decide(*given)
    assert good.verdict != "ERROR" and cut.verdict == "ERROR"
    assert "coded pixels are missing" in cut.reason


def test_a_recipe_that_is_not_configured_is_an_error(bench: Bench) -> None:
    good, lost = bench.decide(bench.part(20), bench.part(20, recipe="unknown"))
    assert (good.verdict, lost.verdict) == ("OK", "ERROR")
    assert "recipe unknown is not in the configuration" in lost.reason


def test_a_batch_of_which_nothing_can_be_read_is_not_scored(bench: Bench) -> None:
    (decided,) = bench.decide(bench.part(b"no image"))
    assert decided.verdict is Verdict.ERROR
    assert bench.detector.batches == []


def test_a_deployment_between_two_batches_changes_the_model(bench: Bench) -> None:
    (before,) = bench.decide(bench.part(100))
    deploy(bench.plant, "second", ok_threshold=0.1, ng_threshold=0.2)
    (after,) = bench.decide(bench.part(100))
    assert (before.verdict, after.verdict) == ("REVIEW", "NG")
    assert after.predictions[0].model_version == "second"
    assert bench.loaded == [MODEL, "second"]
    assert bench.worker.status.facts["models"] == {RECIPE: "second"}


def test_a_model_that_was_altered_leaves_the_one_before_at_work(bench: Bench) -> None:
    bench.decide(bench.part(20))
    bench.broken["second"] = ModelAltered(Path("second"), "0" * 64, "1" * 64)
    deploy(bench.plant, "second")
    (decided,) = bench.decide(bench.part(20))
    assert decided.predictions[0].model_version == MODEL


def test_thresholds_that_make_no_sense_are_not_used(bench: Bench) -> None:
    bench.decide(bench.part(20))
    for id, ok, ng in (("swapped", 0.9, 0.1), ("blank", float("nan"), 0.5)):
        deploy(bench.plant, id, ok_threshold=ok, ng_threshold=ng)
        (decided,) = bench.decide(bench.part(20))
        assert decided.predictions[0].model_version == MODEL


def test_thresholds_that_are_set_judge_the_next_batch_without_loading_the_model_again(bench: Bench) -> None:
    before = bench.decide(bench.part(100), bench.part(120))
    set_thresholds(bench.plant, MODEL, Thresholds(0.3, 0.45))
    after = bench.decide(bench.part(100), bench.part(120))
    assert [event.verdict for event in before] == ["REVIEW", "REVIEW"]
    assert [event.verdict for event in after] == ["REVIEW", "NG"]
    used = [(one.ok_threshold, one.ng_threshold) for event in (*before, *after) for one in event.predictions]
    assert used == [(0.4, 0.6)] * 2 + [(0.3, 0.45)] * 2
    assert bench.loaded == [MODEL]


def test_thresholds_belong_to_the_model_version_they_were_set_for(bench: Bench) -> None:
    set_thresholds(bench.plant, MODEL, Thresholds(0.1, 0.2))
    (first,) = bench.decide(bench.part(100))
    deploy(bench.plant, "second")
    (second,) = bench.decide(bench.part(100))
    with bench.plant.database.begin() as session:
        records.deploy(session, RECIPE, MODEL, "test", "rolled back")
    (back,) = bench.decide(bench.part(100))
    assert [event.verdict for event in (first, second, back)] == ["NG", "REVIEW", "NG"]
    assert bench.loaded == [MODEL, "second"], "the way back needs no load"


def test_without_any_usable_model_the_worker_holds_and_judges_nothing(bench: Bench) -> None:
    bench.broken[MODEL] = ModelAltered(Path("first"), "0" * 64, "1" * 64)
    for _ in range(2):
        with pytest.raises(ModelAltered):
            bench.worker.refresh()
    bench.broken.clear()
    bench.worker.refresh()
    assert bench.decide(bench.part(20))[0].verdict is Verdict.OK


def test_a_recipe_whose_model_cannot_be_used_keeps_no_other_from_its_model(
    log: EventLog, stream_url: str, plant: Plant, tmp_path: Path
) -> None:
    recipes = {"another": RecipePlan(32, 0.0), RECIPE: RecipePlan(32, 0.0)}
    bench = Bench(log, stream_url, plant, tmp_path, recipes=recipes)
    with pytest.raises(ModelMissing, match="recipe another"):
        bench.worker.refresh()
    assert list(bench.worker.champions.loaded) == [RECIPE]


def test_a_full_disk_holds_the_batch_and_nothing_is_told_twice(bench: Bench) -> None:
    bench.refresh()
    bench.log.publish(bench.part(20), bench.part(240))
    entries = bench.log.read("inference", "inference-0", [bench.key], 10, 10)
    bench.worker.store.minimum_free_bytes = 1 << 60
    for _ in range(2):
        with pytest.raises(DiskFull):
            bench.worker.handle(entries)
    assert bench.log.client.xlen(bench.told) == 0
    bench.worker.store.minimum_free_bytes = 0
    bench.worker.handle(entries)
    assert bench.log.client.xlen(bench.told) == 2


def test_a_detector_that_crashes_leaves_the_entries_and_is_buried_as_error(bench: Bench) -> None:
    bench.refresh()
    bench.log.publish(bench.part(20), bench.part(CRASH))
    entries = bench.log.read("inference", "inference-0", [bench.key], 10, 10)
    with pytest.raises(MemoryError):
        bench.worker.handle(entries)
    assert bench.log.backlog(bench.key, "inference") == 2
    (buried,) = bench.worker.bury(entries[1], "set aside")
    assert (buried.verdict, buried.reason, len(buried.frames)) == (Verdict.ERROR, "inference: set aside", 1)


def test_sampled_parts_are_reviewed_and_a_repeat_samples_the_same(
    log: EventLog, stream_url: str, plant: Plant, tmp_path: Path
) -> None:
    recipes = {RECIPE: RecipePlan(image_size=32, sample_rate=0.5)}
    bench = Bench(log, stream_url, plant, tmp_path, recipes=recipes)
    parts = [bench.part(20) for _ in range(30)]
    first, again = bench.decide(*parts), bench.decide(*parts)
    assert {event.verdict for event in first} == {Verdict.OK, Verdict.REVIEW}
    assert [event.verdict for event in first] == [event.verdict for event in again]


def test_a_version_is_loaded_while_the_one_before_goes_on_scoring(bench: Bench) -> None:
    bench.decide(bench.part(20))
    begun, go_on = threading.Event(), threading.Event()
    load = bench.load

    def slow(folder: Path, sha256: str) -> Detector:
        begun.set()
        go_on.wait()
        return load(folder, sha256)

    bench.worker.champions.load = slow
    deploy(bench.plant, "second")
    bench.worker.champions.look_at = 0.0
    bench.worker.refresh()
    begun.wait()
    bench.log.publish(part := bench.part(20))
    bench.worker.handle(bench.log.read("inference", "inference-0", [bench.key], 100, 10))
    (entry,) = bench.log.read("record", "r", [bench.told], 100, 10)
    assert isinstance(entry.event, InspectionDecided) and entry.event.trigger == part.trigger
    assert entry.event.predictions[0].model_version == MODEL
    go_on.set()
    (after,) = bench.decide(bench.part(20))
    assert after.predictions[0].model_version == "second"


def test_each_swap_is_on_record_before_a_part_is_scored_by_it(bench: Bench) -> None:
    bench.decide(bench.part(20))
    deploy(bench.plant, "second")
    (decided,) = bench.decide(bench.part(20))
    with bench.plant.database.begin() as session:
        newest, first = deployments.history(session, RECIPE)
        (swap,) = deployments.swaps(session, newest["deployment_id"])
    assert (swap["worker"], swap["model_version"]) == ("inference", "second")
    assert decided.predictions[0].deployment_id == newest["deployment_id"]
    assert newest["deployed_at"] <= swap["swapped_at"] <= decided.decided_at
    assert newest["last_swapped_at"] == swap["swapped_at"] and first["last_swapped_at"] < swap["swapped_at"]


def test_what_cannot_be_loaded_is_said_and_tried_again(bench: Bench) -> None:
    bench.decide(bench.part(20))
    bench.broken["second"] = ModelAltered(Path("second"), "0" * 64, "1" * 64)
    deploy(bench.plant, "second")
    bench.refresh()
    refused = bench.worker.status.facts["refused"]
    assert isinstance(refused, dict) and "the model was altered" in refused[f"{RECIPE} champion"]
    bench.broken.clear()
    (decided,) = bench.decide(bench.part(20))
    assert decided.predictions[0].model_version == "second"
    assert bench.worker.status.facts["refused"] == {}


def test_a_canary_decides_about_its_share_and_the_same_again_after_a_repeat(bench: Bench) -> None:
    deploy(bench.plant, "second", Alias.CANARY, 0.5)
    bench.refresh()
    parts = [bench.part(20) for _ in range(40)]
    first, again = bench.decide(*parts), bench.decide(*parts)
    versions = [event.predictions[0].model_version for event in first]
    assert set(versions) == {MODEL, "second"}
    assert versions == [event.predictions[0].model_version for event in again]
    with bench.plant.database.begin() as session:
        deployments.withdraw(session, RECIPE, Alias.CANARY, "anna", "enough")
    assert {event.predictions[0].model_version for event in bench.decide(*parts)} == {MODEL}


def test_a_challenger_scores_what_others_judged_and_its_failures_cost_no_part(bench: Bench) -> None:
    deploy(bench.plant, "second", Alias.CHALLENGER, ok_threshold=0.1, ng_threshold=0.2)
    bench.refresh()
    (challenger,) = (one for place, one in bench.worker.champions.held.items() if place[1] is Alias.CHALLENGER)
    parts = [bench.part(100), bench.part(20), bench.part(REFUSED)]
    decided = bench.decide(*parts)
    assert [event.verdict for event in decided] == ["REVIEW", "OK", "ERROR"]
    assert bench.worker.shadow.drained(60)
    bench.log.create_group([bench.log.key(PartShadowed)], "record")
    told = [entry.event for entry in bench.log.read("record", "r", [bench.log.key(PartShadowed)], 10, 10)]
    assert all(isinstance(event, PartShadowed) for event in told)
    said = [(facts.model_version, facts.ng_threshold) for event in told for facts in event.predictions]  # type: ignore[attr-defined]
    assert said == [("second", 0.2)] * 2
    assert bench.worker.shadow.counts == {"scored": 2, "dropped": 0, "failed": 1}
    assert challenger.detector.batches == [1, 1, 1]  # type: ignore[attr-defined]  # made above


def test_a_line_that_is_behind_drops_its_challenger_first_and_counts_it(bench: Bench) -> None:
    deploy(bench.plant, "second", Alias.CHALLENGER)
    bench.refresh()
    late = bench.part(20, told_at=now() - timedelta(seconds=1))
    (decided,) = bench.decide(late)
    assert decided.verdict is Verdict.OK
    assert bench.worker.shadow.drained(60)
    assert bench.worker.shadow.counts == {"scored": 0, "dropped": 1, "failed": 0}


def deploy(plant: Plant, id: str, alias: Alias = Alias.CHAMPION, share: float = 1.0, **facts: object) -> None:
    with plant.database.begin() as session:
        records.register_model(session, model(id, **facts))
        deployments.ask(session, Wish(RECIPE, id, "test", "newer", alias, share))


def set_thresholds(plant: Plant, model_version: str, limits: Thresholds) -> None:
    with plant.database.begin() as session:
        thresholds.set_thresholds(
            session, RECIPE, model_version, limits, by="test", reason="tried", target_false_reject_rate=None
        )
