"""Snapshots on real records: what is in them stays, and what is protected is never learned from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psycopg2.errors
import pytest
from sqlalchemy import text

from storage import records, snapshots
from storage.database import Database
from storage.errors import NothingToSnapshot, SnapshotRefused
from storage.events import ReviewReason
from storage.resolution import Resolution
from storage.snapshot_models import DatasetSnapshot, Split
from storage.stream import EventLog
from tests.conftest import execute
from tests.facts import RECIPE, Plant, frame, prediction
from tests.integration.test_queue import CANNOT_TELL, NORMAL, Desk
from workers.labeling.queue import Queue
from workers.retrain.snapshot import take_snapshot
from workers.snapshots.exchange import bring_in, export
from workers.snapshots.mask import mask_of
from workers.snapshots.verify import verify

SIDE = 64
BOX = [{"camera": "top", "kind": "box", "points": [[8, 8], [24, 24]]}]
MARKED = Resolution.model_validate({"decision": "anomaly", "defects": ["crack"], "regions": BOX})


def texture(number: int, *, cracked: bool = False) -> bytes:
    """A PNG that no other number's looks like."""
    draw = np.random.default_rng(number)
    noise = cv2.GaussianBlur(draw.integers(0, 255, (SIDE, SIDE)).astype(np.float32), (0, 0), 3)
    pixels = cv2.normalize(noise, noise, 60, 230, cv2.NORM_MINMAX).astype(np.uint8)
    if cracked:
        pixels[12:20, 12:20] = 40
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data.tobytes()


class Workshop(Desk):
    """A desk whose parts have real images, and snapshots of what is decided there."""

    def seen(self, data: bytes, score: float = 0.5, **facts: Any) -> None:
        """A part under review that looks like this, and what the model said of it."""
        stored = self.store.put(data, ".png")
        one = frame(data=data, md5=stored.md5, width=SIDE, height=SIDE)
        captured = self.plant.captured(self.plant.trigger(**facts), one)
        event = self.plant.decided(
            captured, score, predictions=(prediction(one, score),), review_reason=ReviewReason.UNCERTAIN
        )
        with self.database.begin() as session:
            records.record_verdicts(session, [event])

    def label(self, numbers: range, **facts: Any) -> None:
        """Every fourth part is cracked, and the box says where."""
        for number in numbers:
            cracked = number % 4 == 0
            self.seen(texture(number, cracked=cracked), part_id=f"P-{number}", **facts)
            self.decide("anna", MARKED if cracked else NORMAL)

    def take(self, **choices: Any) -> DatasetSnapshot:
        return take_snapshot(self.database, self.store, RECIPE, None, by="eve", **choices)

    def sides(self, name: str) -> dict[str, Split]:
        with self.database.begin() as session:
            return {item.part_key: item.split for item in snapshots.items(session, name)}


@pytest.fixture
def shop(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[Workshop]:
    yield Workshop(plant, log, tmp_path / "store")


def test_a_snapshot_holds_what_people_decided_and_says_what_it_leaves_out(shop: Workshop) -> None:
    with pytest.raises(NothingToSnapshot, match="no part has a label"):
        shop.take()
    shop.label(range(12))
    shop.seen(texture(100))
    shop.decide("anna", CANNOT_TELL)
    found = shop.take(description="weekly run")
    assert found.name.endswith("_V1_weekly-run") and found.unfit is None
    assert (found.counts["images"], found.counts["cannot_tell"], found.created_by) == (12, 1, "eve")
    assert shop.take().name.endswith(f"_V2_{RECIPE}") and shop.take(name="golden").parent.endswith(f"_V2_{RECIPE}")  # type: ignore[union-attr]  # it has one
    with pytest.raises(SnapshotRefused, match="never changed"):
        shop.take(name="golden")
    with shop.database.begin() as session:
        cracked = [item for item in snapshots.items(session, found.name) if item.is_anomaly]
        mask = mask_of(shop.store, cracked[0])
    assert len(cracked) == 3 and mask is not None and mask[10, 10] and not mask[40, 40]
    view = f"SELECT count(*) FROM v_snapshot_items WHERE snapshot = '{found.name}' AND decided_by = 'anna'"
    assert shop.value(view) == 12


def test_the_pool_only_grows_and_no_training_ever_sees_it(shop: Workshop) -> None:
    shop.label(range(20))
    first = shop.sides(shop.take().name)
    shop.label(range(20, 40))
    shop.seen(texture(3))  # replayed without its serial number: the same part all the same
    shop.decide("ben", NORMAL)
    second = shop.sides(shop.take().name)
    assert first.items() <= second.items() and len(second) == 40
    judged = {key for key, side in second.items() if side is Split.TEST}
    assert 2 <= len(judged) <= 16
    with shop.database.begin() as session:
        assert judged <= snapshots.pool(session, RECIPE)
        learned = snapshots.trained(session, RECIPE)
    assert not learned & judged
    into_training = (
        "INSERT INTO snapshot_items SELECT 'golden', sha256, md5, size_bytes, media_type, width, height, camera, "
        "inspection_id, part_key, part_id, lot, 'train', is_anomaly, defects, regions, source, label_id, decided_by, "
        "decided_at FROM snapshot_items WHERE split = 'test' LIMIT 1"
    )
    shop.take(name="golden")
    execute(shop.database.url, "ALTER TABLE snapshot_items DROP CONSTRAINT pk_snapshot_items")
    with pytest.raises(psycopg2.errors.RestrictViolation, match="no training may see it"):
        execute(shop.database.url, into_training)
    with pytest.raises(psycopg2.errors.RestrictViolation, match="cannot be protected any more"):
        execute(
            shop.database.url,
            "INSERT INTO pool_parts (recipe, part_key, snapshot) SELECT 'bracket', part_key, snapshot "
            "FROM snapshot_items WHERE split = 'train' LIMIT 1",
        )


def test_challenge_parts_are_judged_and_never_learned(shop: Workshop) -> None:
    shop.label(range(8))
    with shop.database.begin() as session:
        for number in range(3):
            snapshots.add_challenge(session, RECIPE, f"part:P-{number}", "eve", "hard")
    found = shop.take()
    assert found.counts["challenge"]["parts"] == 3
    learned = next(key for key, side in shop.sides(found.name).items() if side is Split.TRAIN)
    with pytest.raises(SnapshotRefused, match="models have seen it"), shop.database.begin() as session:
        snapshots.add_challenge(session, RECIPE, learned, "eve", "too late")


def test_what_people_disagree_on_is_set_aside_until_an_engineer_releases_it(shop: Workshop) -> None:
    shop.label(range(8))
    with shop.database.begin() as session:
        (inspection_id, sha256) = session.execute(
            text("SELECT inspection_id, sha256 FROM frames ORDER BY inspection_id LIMIT 1")
        ).one()
    held = shop.queue.claim_this("ben", shop.queue.look_again("eve", inspection_id))
    shop.queue.resolve("ben", held.review_id, held.token, NORMAL)
    found = shop.take()
    with shop.database.begin() as session:
        (row,) = snapshots.aside_shown(session, found.name)
        assert (row["sha256"], row["reason"], row["used"]) == (sha256, "disagreement", False)
        assert row["detail"] == "in force is normal, which most do not say: anna anomaly, ben normal"
        with pytest.raises(SnapshotRefused, match="is not set aside"):
            snapshots.release(session, found.name, "ffff", "eve", "looked at it")
        snapshots.release(session, found.name, sha256[:10], "eve", "looked at it")
    again = shop.take()
    assert (found.counts["images"], again.counts["images"]) == (7, 8)


def test_verify_names_each_changed_or_missing_file(shop: Workshop) -> None:
    shop.label(range(6))
    name = shop.take().name
    with shop.database.begin() as session:
        assert verify(session, shop.store, name).ok
        first, second, *_ = (shop.store.path(item.sha256) for item in snapshots.items(session, name))
        first.write_bytes(b"something else")
        second.unlink()
        problems = verify(session, shop.store, name).problems
    assert {(problem.what, Path(problem.file).stem) for problem in problems} == {
        ("image changed: another SHA-256", first.stem),
        ("image changed: another MD5", first.stem),
        ("image missing", second.stem),
    }


def test_a_snapshot_whose_rows_were_changed_does_not_verify(shop: Workshop) -> None:
    shop.label(range(6))
    name = shop.take().name
    execute(
        shop.database.url,
        "ALTER TABLE snapshot_items DISABLE TRIGGER append_only",
        "UPDATE snapshot_items SET is_anomaly = NOT is_anomaly WHERE sha256 = (SELECT min(sha256) FROM snapshot_items)",
    )
    with shop.database.begin() as session:
        assert [problem.file for problem in verify(session, shop.store, name).problems] == ["manifest"]


@pytest.fixture
def elsewhere(postgres_server: Any, template_database: str, database_numbers: Iterator[int]) -> Iterator[Database]:
    """The records of another plant."""
    from orchestrator.postgres import OWNER, SUPERUSER

    name = f"adline_elsewhere_{next(database_numbers)}"
    administrator = postgres_server.url("postgres", SUPERUSER)
    execute(administrator, f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template_database}")
    database = Database(postgres_server.url(name))
    yield database
    database.close()
    execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_snapshot_travels_to_another_plant_unchanged(shop: Workshop, elsewhere: Database, tmp_path: Path) -> None:
    from storage.images import ImageStore
    from workers.datasets.read import read

    shop.label(range(16))
    found = shop.take()
    out, store = tmp_path / "out", ImageStore(tmp_path / "there")
    with shop.database.begin() as session:
        assert export(session, shop.store, found.name, out) == 16
    samples = read(out).samples
    assert len(samples) == 16 and sum(sample.mask is not None for sample in samples) == 4
    with elsewhere.begin() as session:
        came = bring_in(session, store, out, "zoe")
        assert (came.name, came.sha256) == (found.name, found.sha256)
        assert verify(session, store, found.name).ok and snapshots.pool(session, RECIPE)
    told = json.loads((out / "manifest.json").read_text())
    told["manifest"]["name"] = "second"
    told["manifest"]["items"][0]["split"] = "train" if told["manifest"]["items"][0]["split"] == "test" else "test"
    (out / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(SnapshotRefused, match="the manifest was changed"), elsewhere.begin() as session:
        bring_in(session, store, out, "zoe")
    content = json.dumps(told["manifest"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    told["sha256"] = hashlib.sha256(content.encode()).hexdigest()
    (out / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(SnapshotRefused, match="parts and images it has to"), elsewhere.begin() as session:
        bring_in(session, store, out, "zoe")


def test_two_people_who_agree_outvote_one(shop: Workshop) -> None:
    """Blind second opinions that differ, and a third that decides: settled, and used."""
    shop.seen(texture(1), part_id="P-1")
    rules = shop.ruled(second_opinion_share=1.0)
    for person, decision in (("anna", NORMAL), ("ben", MARKED), ("eve", NORMAL)):
        decide(rules, person, decision)
    assert shop.take().counts["images"] == 1


def decide(queue: Queue, person: str, resolution: Resolution) -> None:
    lease = queue.claim(person)
    assert lease is not None
    queue.resolve(person, lease.review_id, lease.token, resolution)


def test_a_drawn_mask_is_part_of_the_snapshot(shop: Workshop, tmp_path: Path) -> None:
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[5:9, 5:9] = 255
    mask = shop.store.put(cv2.imencode(".png", drawn)[1].tobytes(), ".png")
    region = {"camera": "top", "kind": "mask", "mask_sha256": mask.sha256}
    shop.seen(texture(1), part_id="P-1")
    shop.decide("anna", Resolution.model_validate({"decision": "anomaly", "defects": ["crack"], "regions": [region]}))
    name = shop.take().name
    with shop.database.begin() as session:
        (item,) = snapshots.items(session, name)
        assert item.regions[0]["mask_md5"] == mask.md5 and snapshots.is_named(session, mask.sha256)
        found = mask_of(shop.store, item)
        assert found is not None and found.sum() == 16
        assert export(session, shop.store, name, tmp_path / "out") == 1
        mask.path.unlink()
        (problem,) = verify(session, shop.store, name).problems
    assert problem.what == "mask missing" and mask.sha256 in problem.file
