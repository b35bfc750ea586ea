"""`adline dataset profile` from the command line: what was planted in a data set is found."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.command import Command
from tests.painted import SIDE, good_part, write_image, write_painted


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A leak, a blurred, a dark and an odd image among brushed metal."""
    root = write_painted(tmp_path / "planted", taught=25, judged=6)
    good = root / "train" / "good"
    write_image(root / "test" / "good" / "again.png", good_part(3))
    write_image(root / "test" / "good" / "brighter.png", cv2.convertScaleAbs(good_part(4), alpha=1.1).astype(np.uint8))
    write_image(good / "blurred.png", cv2.GaussianBlur(good_part(900), (0, 0), 6).astype(np.uint8))
    write_image(good / "dark.png", (good_part(901) // 12).astype(np.uint8))
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    board = ((x // 12 + y // 12) % 2 * 200 + 20).astype(np.uint8)
    write_image(good / "odd.png", np.dstack([board, 255 - board, board // 3]))
    return root


def test_what_was_planted_is_found_and_counted(adline: Command, planted: Path) -> None:
    found = adline.json("dataset", "profile", str(planted), "--out", "report.html")
    assert found["images"] == 48 and found["with_mask"] == 12
    assert found["counts"] == {"test": {"good": 8, "scratch": 6, "stain": 6}, "train": {"good": 28}}
    assert found["equal_files"] == [["test/good/again.png", "train/good/003.png"]]
    near = {(pair["first"], pair["second"]): pair["bits"] for pair in found["near_duplicates"]}
    assert near[("test/good/again.png", "train/good/003.png")] == 0
    assert ("test/good/brighter.png", "train/good/004.png") in near
    assert "train/good/blurred.png" in [one["image"] for one in found["blurred"]]
    assert "train/good/dark.png" in [one["image"] for one in found["misexposed"]]
    assert "train/good/odd.png" in [one["image"] for one in found["outliers"][:3]]
    assert any("equal to the byte" in warning for warning in found["warnings"])

    html = Path("report.html").read_text(encoding="utf-8")
    assert all(source.startswith("data:image/") for source in re.findall(r'(?:src|href)="([^"]{0,30})', html))
    for title in ("Equal to the byte: 1", "Nearly the same", "Blurred", "Badly exposed", "Embeddings", "Outliers"):
        assert title in html


def test_a_profile_is_told_in_words_too(adline: Command, planted: Path) -> None:
    assert adline("dataset", "profile", str(planted)) == 0
    assert "48 images, 12 with a mask" in adline.out and "equal files: 1" in adline.out and "warning:" in adline.out


def test_two_images_have_a_profile_without_outliers(adline: Command, tmp_path: Path) -> None:
    for number in range(2):
        write_image(tmp_path / "two" / "train" / "good" / f"{number}.png", good_part(number))
    assert adline.json("dataset", "profile", "two", "--out", "report.html")["outliers"] == []


def test_an_image_that_cannot_be_decoded_is_named(adline: Command, planted: Path) -> None:
    (planted / "train" / "good" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    assert adline("dataset", "profile", str(planted)) == 1
    assert "train/good/000.png" in adline.err and "allowed:" in adline.err


def test_a_folder_that_is_not_there_is_an_error_not_a_traceback(adline: Command) -> None:
    assert adline("dataset", "profile", "nowhere") == 1
    assert "nowhere: data set: given 'no folder'; allowed: a folder that is there" in adline.err
