"""`adline bench detection --peer anomalib`: refused without the library, measured with it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.command import Command
from tests.painted import write_painted
from workers.datasets.peer import measure_anomalib
from workers.datasets.read import read


@pytest.mark.filterwarnings("default")  # the peer's own are not ours to mend
def test_the_peer_is_measured_on_the_same_images_or_it_is_said_at_once_what_to_install(
    tmp_path: Path, adline: Command
) -> None:
    if find_spec("anomalib") is None:
        assert adline("bench", "detection", "--data", "nowhere", "--peer", "anomalib") == 1
        assert "pip install anomalib" in adline.err
        return
    dataset = read(write_painted(tmp_path / "painted", judged=4))
    # At 64 pixels: its choice of a coreset takes minutes at 256.
    peer = measure_anomalib(dataset, image_size=64, seed=0, progress=lambda told: None)
    assert peer["image_auroc"] > 0.9 and peer["pixel_auroc"] > 0.9 and 0 < peer["aupro"] <= 1
    assert peer["images_per_second"] > 0 and peer["fit_seconds"] > 0 and peer["library"].startswith("anomalib ")
