"""`adline bench detection` from the command line, on textures with painted defects."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.command import Command
from tests.painted import good_part, write_image, write_painted
from tests.unit import tiny_weights
from workers.datasets import labelled_trial
from workers.detectors.head_configuration import HeadConfiguration


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    return write_painted(tmp_path / "painted")


def test_painted_defects_are_told_from_good_parts_and_every_figure_is_there(adline: Command, painted: Path) -> None:
    report = adline.json("bench", "detection", "--data", str(painted), "--html", "report.html")
    assert report["image_auroc"] > 0.99 and report["image_ap"] > 0.99 and report["f1_best"] > 0.95
    assert report["recall"] > 0.9 and report["precision"] > 0.6 and report["f1"] > 0.7
    assert report["pixel_auroc"] > 0.9 and 0 < report["aupro"] <= 1
    assert set(report["classes"]) == {"scratch", "stain"}
    assert all(found["images"] == 8 and found["image_auroc"] > 0.99 for found in report["classes"].values())
    low, high = report["false_reject_interval"]
    assert 0 <= low < high <= 1
    assert "false_rejects_resampled" not in report, "it takes a teaching each: only when asked for"
    assert report["images_per_second"] > 0 and report["fit_seconds"] > 0
    assert (report["images"], report["anomalies"]) == (24, 16)


def test_models_taught_anew_are_held_to_their_own_thresholds(adline: Command, painted: Path) -> None:
    asked = ("--resamplings", "3", "--false-reject-rate", "0.2")
    report = adline.json("bench", "detection", "--data", str(painted), *asked)
    found = report["false_rejects_resampled"]
    assert (found["resamplings"], found["parts_taught"], found["parts_to_come"]) == (3, 40, 8)
    assert found["inside"] == 3 and found["inside_95"] <= 3 and found["false_reject_rate"] < 0.5


@pytest.mark.parametrize("how", [(), ("--ask", "--draws", "1")])
def test_with_labels_the_figures_of_folds_by_group_are_added(
    adline: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    monkeypatch.setattr(labelled_trial, "FOLDS", 2)
    monkeypatch.setattr(labelled_trial, "SEEDS", 1)
    monkeypatch.setattr(labelled_trial, "HEAD", HeadConfiguration(folds=2, members=2, width=8, epochs=4))
    data = write_painted(tmp_path / "painted", taught=60)
    asked = ("--labels", "20", "--false-reject-rate", "0.3", "--json", *how)
    assert adline("bench", "detection", "--data", str(data), *asked) == 0
    found = json.loads(adline.out)["with_labels"]
    assert found["labels"] == 20 and found["asked"] == bool(how) and found["folds"] == 2 and found["seeds"] == [0]
    assert found["mean"]["image_auroc"] > 0.9 and found["spread"]["image_auroc"] < 0.1


def test_labels_can_only_be_asked_for_when_there_are_some(adline: Command, painted: Path) -> None:
    assert adline("bench", "detection", "--data", str(painted), "--ask") == 2
    assert "goes with --labels, 1 or more" in adline.err


def test_the_page_holds_its_pictures_and_fetches_nothing(adline: Command, painted: Path) -> None:
    assert adline("bench", "detection", "--data", str(painted), "--html", "report.html") == 0
    assert "image AUROC" in adline.out
    html = Path("report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', html)
    assert len(sources) > 20 and all(source.startswith("data:image/") for source in sources)
    for title in ("Curves", "Scores", "Best", "Worst", "Most uncertain"):
        assert f"<h2>{title}" in html


def test_the_same_seed_gives_the_same_figures(adline: Command, painted: Path) -> None:
    first, second = (adline.json("bench", "detection", "--data", str(painted), "--seed", "3") for _ in range(2))
    for clock in ("images_per_second", "fit_seconds"):
        del first[clock], second[clock]
    assert first == second


def test_an_image_that_is_in_train_and_test_is_warned_of(adline: Command, painted: Path) -> None:
    random = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    image = cv2.resize(random, (96, 96), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    write_image(painted / "train" / "good" / "same.png", image)
    write_image(painted / "test" / "good" / "same.png", image)
    report = adline.json("bench", "detection", "--data", str(painted))
    equal = next(warning for warning in report["warnings"] if "equal to the byte" in warning)
    assert "test/good/same.png" in equal and "train/good/same.png" in equal
    assert any("perceptual hash" in warning for warning in report["warnings"])


def test_without_masks_the_pixel_figures_are_unknown(adline: Command, painted: Path) -> None:
    for mask in painted.glob("ground_truth/*/*"):
        mask.unlink()
    for folder in painted.glob("ground_truth/*"):
        folder.rmdir()
    report = adline.json("bench", "detection", "--data", str(painted))
    assert report["pixel_auroc"] is None and report["aupro"] is None and report["image_auroc"] > 0.99


def test_a_data_set_without_good_images_is_refused_before_anything_is_taught(adline: Command, tmp_path: Path) -> None:
    write_image(tmp_path / "bad" / "test" / "scratch" / "0.png", good_part(0))
    assert adline("bench", "detection", "--data", "bad") == 1
    assert "good images in train: given 'none'; allowed: at least one" in adline.err


def test_one_product_of_several_must_be_chosen(adline: Command, tmp_path: Path) -> None:
    for product in ("bracket", "COMP/lid"):
        write_painted(tmp_path / "plant" / product, judged=2)
    assert adline("bench", "detection", "--data", "plant") == 1
    assert "allowed: COMP/lid, bracket" in adline.err
    assert adline.json("bench", "detection", "--data", "plant", "--product", "COMP/lid")["images"] == 6


def test_an_unknown_detector_is_answered_with_those_there_are(adline: Command, painted: Path) -> None:
    assert adline("bench", "detection", "--data", str(painted), "--detector", "guess") == 1
    assert '"guess"; allowed:' in adline.err


def test_patchcore_on_a_clip_is_measured_on_the_blocks_asked_for(
    adline: Command, painted: Path, tmp_path: Path
) -> None:
    tiny_weights.store_clip(tmp_path / "clips")
    tower = ("--backbone", tiny_weights.CLIP, "--layer", "1", "--layer", "3", "--models", str(tmp_path / "clips"))
    report = adline.json("bench", "detection", "--data", str(painted), "--detector", "patchcore", *tower)
    assert (report["detector"], report["backbone"]) == ("patchcore", tiny_weights.CLIP)
    assert report["image_auroc"] > 0.9
    assert adline("bench", "detection", "--data", str(painted), "--backbone", "ViT-B/16") == 1
    assert "adline model pull ViT-B-16:openai" in adline.err
    assert adline("bench", "detection", "--data", str(painted), "--layer", "3") == 2
    assert adline("bench", "detection", "--data", str(painted), "--detector", "anomalyclip", *tower) == 2


def test_anomalyclip_without_its_weights_is_refused(adline: Command, painted: Path) -> None:
    assert adline("bench", "detection", "--data", str(painted), "--detector", "anomalyclip") == 1
    assert "not given which CLIP weights and which prompts" in adline.err
    weights = ("--clip", "ViT-B/32", "--prompts", "epoch_15")
    assert adline("bench", "detection", "--data", str(painted), "--detector", "anomalyclip", *weights) == 1
    assert "adline model pull ViT-B-32:openai" in adline.err


def on_tiny_clip(models: Path) -> tuple[str, ...]:
    tiny_weights.store_clip(models)
    tiny_weights.store_prompts(models)
    weights = ("--clip", tiny_weights.CLIP, "--prompts", tiny_weights.PROMPTS, "--models", str(models))
    return ("--detector", "anomalyclip", *weights)


def test_a_data_set_without_known_good_images_is_judged_zero_shot_and_uncalibrated(
    adline: Command, tmp_path: Path
) -> None:
    data, tiny = write_painted(tmp_path / "painted", taught=0, judged=2), on_tiny_clip(tmp_path / "clips")
    report = adline.json("bench", "detection", "--data", str(data), *tiny, "--resamplings", "2")
    assert (report["images"], report["anomalies"]) == (6, 4)
    assert report["calibrated"] is False and report["threshold"] == 0.5
    assert report["false_reject_interval"] == [0, 1] and report["false_rejects_resampled"] is None
    assert any("decisions are those at 0.5" in warning for warning in report["warnings"])
    assert adline("bench", "detection", "--data", str(data)) == 1, "patchcore must learn from some"
    assert "good images in train: given 'none'" in adline.err


def test_zero_shot_learns_nothing_from_the_known_good_images_there_are(adline: Command, tmp_path: Path) -> None:
    data, tiny = write_painted(tmp_path / "painted", taught=8, judged=2), on_tiny_clip(tmp_path / "clips")
    asked = ("bench", "detection", "--data", str(data), *tiny, "--false-reject-rate", "0.3")
    assert adline(*asked, "--zero-shot") == 0
    assert "at 0.5, not calibrated" in adline.out and "nothing is promised" in adline.out
    assert "decisions are those at 0.5" in adline.err
    zero_shot, few_shot = adline.json(*asked, "--zero-shot"), adline.json(*asked)
    assert (zero_shot["calibrated"], few_shot["calibrated"]) == (False, True)
    shutil.rmtree(data / "train")
    alone = adline.json(*asked)
    for clock in ("images_per_second", "fit_seconds"):
        del zero_shot[clock], alone[clock]
    assert alone == zero_shot


def test_without_a_split_all_images_are_judged_zero_shot(adline: Command, tmp_path: Path) -> None:
    lines = ["image_id,label,description"]
    for number in range(4):
        write_image(tmp_path / "mixed" / f"{number}.png", good_part(number))
        lines.append(f"{number}.png,{'anomaly' if number % 2 else 'normal'},")
    (tmp_path / "mixed" / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    tiny = on_tiny_clip(tmp_path / "clips")
    assert adline.json("bench", "detection", "--data", "mixed", *tiny, "--zero-shot")["images"] == 4


def test_zero_shot_is_anomalyclips_and_hears_no_labels(adline: Command, painted: Path, tmp_path: Path) -> None:
    assert adline("bench", "detection", "--data", str(painted), "--zero-shot") == 2
    assert "--zero-shot" in adline.err
    tiny = on_tiny_clip(tmp_path / "clips")
    assert adline("bench", "detection", "--data", str(painted), *tiny, "--zero-shot", "--labels", "0") == 2
