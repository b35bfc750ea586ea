"""A verdict reached again from its evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage.database import Database
from storage.events import Verdict
from storage.image_store import ImageStore
from storage.images import decode, encode
from tests.command import Command
from tests.integration.line_on_record import IMAGE_SIZE, MODEL, write_line
from workers.detectors.registry import teach


def picture(seed: int) -> bytes:
    """A grained surface; no two are alike."""
    grain = np.random.default_rng(seed).normal(128, 20, (IMAGE_SIZE, IMAGE_SIZE))
    return encode(grain.clip(0, 255).astype(np.uint8), "png")


def test_the_evidence_gives_the_recorded_score_again_or_it_is_told(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adline = Command(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("DATABASE_URL", database_url)
    home = tmp_path / ".adline"
    good = [decode(picture(seed)) for seed in range(30)]
    detector = teach("patchcore", good, image_size=IMAGE_SIZE, target_false_reject_rate=0.05, review_share=0.05, seed=0)
    sha256 = detector.save(home / "models" / MODEL)
    (answer,) = detector.predict([decode(picture(100))])
    score = getattr(answer, "anomaly_score", None)
    assert score is not None
    database = Database(database_url)
    parts = [(part, "L-1", Verdict.OK, picture(100)) for part in ("true", "false")]
    parts.append(("lost", "L-1", Verdict.OK, picture(101)))
    scores = {"true": score, "false": abs(score - 0.1)}
    write_line(database, home / "images", parts, model_sha256=sha256, scores=scores)
    database.close()

    (view,) = adline.json("audit", "replay", "true")
    assert view["same"] is True and view["replayed_score"] == pytest.approx(score, abs=1e-3)
    (view,) = adline.json("audit", "replay", "false", code=1)
    assert view["same"] is False
    (lost,) = adline.json("audit", "part", "lost")
    ImageStore(home / "images").path(lost["sha256"]).unlink()
    (view,) = adline.json("audit", "replay", "lost", code=1)
    assert "is not there" in view["trouble"] and view["replayed_score"] is None
    assert adline("audit", "replay", "never") == 1

    weights = home / "models" / MODEL / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert adline("audit", "replay", "true") == 1
    assert "SHA-256" in adline.err
