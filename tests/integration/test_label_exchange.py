"""Labels of recorded parts, out of one line's records and into another's; and the commands that do it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from storage import records
from storage.errors import ImageMissing
from storage.events import ReviewReason, new_id
from storage.images import ImageStore
from storage.resolution import Resolution
from storage.stream import EventLog
from tests.facts import Plant, frame, picture, prediction
from tests.integration.test_queue import CRACK, NORMAL, Desk
from workers.labeling.exchange import Format, read, write
from workers.labeling.image_label import Refusal
from workers.labeling.importing import export_labels, import_labels

REGIONS = [
    {"camera": "top", "kind": "box", "points": [[1, 2], [10.125, 20]], "defect": "crack"},
    {"camera": "top", "kind": "polygon", "points": [[0, 0], [64, 0], [10.5, 48]]},
]
MARKED = Resolution.model_validate(
    {"decision": "anomaly", "defects": ["scratch", "crack"], "regions": REGIONS, "note": "twice"}
)


def shown_part(desk: Desk, shade: int, *cameras: str) -> None:
    """A part under review whose images are stored."""
    frames = []
    for number, camera in enumerate(cameras or ("top",)):
        data = picture(shade + number)
        stored = desk.store.put(data, ".png")
        frames.append(frame(camera=camera, data=data, sha256=stored.sha256))
    captured = desk.plant.captured(desk.plant.trigger(), *frames)
    seen = tuple(prediction(one, 0.5) for one in frames)
    event = desk.plant.decided(captured, 0.5, predictions=seen, review_reason=ReviewReason.UNCERTAIN)
    with desk.database.begin() as session:
        records.record_verdicts(session, [event])


@pytest.fixture
def desk(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(plant, log, tmp_path / "store")


FORMATS: list[Format] = ["csv", "coco", "labelstudio", "mvtec", "meta"]
ONE_CLASS: list[Format] = ["csv", "mvtec", "meta"]


@pytest.mark.parametrize("format", FORMATS)
def test_labels_go_out_and_come_in_again_unchanged(desk: Desk, tmp_path: Path, format: Format) -> None:
    for shade in (1, 2, 3):
        shown_part(desk, 10 * shade)
    spaced = CRACK.model_copy(update={"note": " left  edge\nand right "})
    for resolution in (MARKED, spaced, NORMAL):
        desk.decide("anna", resolution)
    labels = export_labels(desk.queue)
    write(desk.store, labels, tmp_path / "out", format)
    again = import_labels(desk.queue, "eve", read(tmp_path / "out", format), format)
    assert (again.recorded, again.unchanged, again.refused) == (0, 3, [])
    assert export_labels(desk.queue) == labels
    assert desk.value("SELECT count(*) FROM labels") == 3


@pytest.mark.parametrize("format", ONE_CLASS)
def test_what_a_format_has_a_place_for_is_put_on_record_when_it_differs(
    desk: Desk, tmp_path: Path, format: Format
) -> None:
    shown_part(desk, 10)
    desk.decide("anna", MARKED)
    write(desk.store, export_labels(desk.queue), tmp_path / "out", format)
    held = desk.queue.claim_this("ben", desk.queue.look_again("eve", inspections(desk)[0]))
    desk.queue.resolve("ben", held.review_id, held.token, CRACK)
    done = import_labels(desk.queue, "eve", read(tmp_path / "out", format), format)
    assert (done.recorded, done.unchanged, done.refused) == (1, 0, [])
    (label,) = export_labels(desk.queue)
    assert label.defects == ("scratch",) and [shape.kind for shape in label.shapes] == ["mask"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_label_stays_with_its_part_when_another_part_showed_the_same_picture_later(
    desk: Desk, tmp_path: Path, format: Format
) -> None:
    for _ in range(2):
        shown_part(desk, 10)
    decided, still_open = inspections(desk)
    desk.decide("anna", CRACK)
    labels = export_labels(desk.queue)
    write(desk.store, labels, tmp_path / "out", format)
    done = import_labels(desk.queue, "eve", read(tmp_path / "out", format), format)
    assert (done.recorded, done.unchanged, done.refused) == (0, 1, [])
    table = tmp_path / "table" / "labels.csv"
    table.parent.mkdir()
    table.write_text(f"image_id,label,description\n{labels[0].sha256},normal,\n")
    done = import_labels(desk.queue, "eve", read(table, "csv"), "csv")
    assert (done.recorded, done.refused) == (1, [])
    states = desk.value(f"SELECT state FROM reviews WHERE inspection_id = '{still_open}'")
    assert states == "open", "nobody said anything of the other part"
    assert desk.value(f"SELECT label FROM v_part_history WHERE inspection_id = '{decided}'") == "normal"


def test_a_view_that_says_nothing_new_keeps_what_is_known_of_it(desk: Desk, tmp_path: Path) -> None:
    shown_part(desk, 1, "top", "side")
    desk.decide("anna", MARKED)
    write(desk.store, export_labels(desk.queue), tmp_path / "out", "mvtec")
    (side,) = (tmp_path / "out").rglob(f"{export_side(desk)}.png")
    mask = tmp_path / "out" / "ground_truth" / "scratch" / f"{side.stem}_mask.png"
    mask.write_bytes(picture(255))
    done = import_labels(desk.queue, "eve", read(tmp_path / "out", "mvtec"), "mvtec")
    assert (done.recorded, done.unchanged, done.refused) == (1, 1, [])
    kinds = {label.sha256: [shape.kind for shape in label.shapes] for label in export_labels(desk.queue)}
    assert kinds.pop(side.stem) == ["mask"]
    assert list(kinds.values()) == [["box", "polygon"]]


def export_side(desk: Desk) -> str:
    return str(desk.value("SELECT sha256 FROM frames WHERE camera = 'side'"))


def inspections(desk: Desk) -> list[UUID]:
    with desk.database.begin() as session:
        return list(session.scalars(text("SELECT id FROM inspections ORDER BY id")))


def test_regions_go_into_the_records_to_the_corner(desk: Desk, tmp_path: Path) -> None:
    shown_part(desk, 1)
    desk.decide("anna", MARKED)
    exported = export_labels(desk.queue)
    write(desk.store, exported, tmp_path / "out", "coco")
    with desk.database.begin() as session:
        (inspection_id,) = session.scalars(text("SELECT id FROM inspections"))
    held = desk.queue.claim_this("ben", desk.queue.look_again("eve", inspection_id))
    desk.queue.resolve("ben", held.review_id, held.token, CRACK)
    done = import_labels(desk.queue, "eve", read(tmp_path / "out", "coco"), "coco")
    assert (done.recorded, done.refused) == (1, [])
    assert export_labels(desk.queue) == exported
    assert desk.value("SELECT label || ' ' || labeled_by FROM v_part_history") == "anomaly eve"


def test_views_of_one_part_are_one_decision(desk: Desk, tmp_path: Path) -> None:
    shown_part(desk, 1, "top", "side")
    desk.decide("anna", MARKED)
    write(desk.store, export_labels(desk.queue), tmp_path / "out", "labelstudio")
    shutil.rmtree(tmp_path / "out" / "images")
    done = import_labels(desk.queue, "eve", read(tmp_path / "out", "labelstudio"), "labelstudio")
    assert (done.recorded, done.unchanged, done.refused) == (0, 2, []), "known by the images' names"


def test_rows_that_do_not_fit_are_refused_one_by_one(desk: Desk, tmp_path: Path) -> None:
    for shade in (1, 20, 40):
        shown_part(desk, shade)
    held = desk.claim("anna")
    with desk.database.begin() as session:
        names = list(session.scalars(text("SELECT sha256 FROM frames ORDER BY inspection_id")))
    table = "image_id,label,description,defect_class\n"
    table += f"{names[0]},anomaly,,\n{names[1]},anomaly,,rust\n{names[2]},error,seen,crack\n{'0' * 64},normal,,\n"
    (tmp_path / "labels.csv").write_text(table)
    done = import_labels(desk.queue, "eve", read(tmp_path / "labels.csv", "csv"), "csv")
    assert done.recorded == 1 and held.inspection_id
    why = {row.row: row.why for row in done.refused if isinstance(row, Refusal)}
    assert "is being decided by anna" in why[names[0]]
    assert "the defect book has" in why[names[1]]
    assert "no inspection on record" in why["0" * 64]


def test_an_image_store_that_lost_an_image_says_so(desk: Desk, tmp_path: Path) -> None:
    shown_part(desk, 1)
    desk.decide("anna", CRACK)
    labels = export_labels(desk.queue)
    with pytest.raises(ImageMissing):
        write(ImageStore(tmp_path / str(new_id())), labels, tmp_path / "out", "csv")
    assert not (tmp_path / "out").exists()
