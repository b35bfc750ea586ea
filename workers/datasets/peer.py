"""anomalib's PatchCore on the same images, in the same run, with the same backbone weights and its own defaults."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final

import torch

from storage.errors import PeerMissing
from workers.datasets.benchmark import Report, pixel_counts, scores_of, truth_of
from workers.datasets.image_metrics import ranking
from workers.datasets.judging import Judgement, Progress, parts_to_teach_and_judge
from workers.datasets.pixel_metrics import PixelCounts
from workers.datasets.sample import Dataset, Sample
from workers.detectors import registry
from workers.detectors.detector import Prediction
from workers.detectors.efficientnet_lite import read_weights, weights_path

LIBRARY: Final = "anomalib"
BACKBONE, STAGES = "tf_efficientnet_lite0", (2, 3)  # strides 8 and 16, the ones its paper calls for
MEAN, DEVIATION = 127 / 255, 128 / 255  # as the backbone was trained
CORESET_SHARE: Final = 0.1  # anomalib's default


def require_anomalib() -> None:
    """PeerMissing says what to install, before anything is measured."""
    if find_spec(LIBRARY) is None:
        raise PeerMissing(LIBRARY)


def measure_anomalib(dataset: Dataset, image_size: int, seed: int, progress: Progress) -> Report:
    """The figures that need no threshold, and the times; judged an image on each thread, as our detector is."""
    taught, judged = parts_to_teach_and_judge(dataset)
    threads = torch.get_num_threads()
    torch.manual_seed(seed)
    progress(f"{LIBRARY}: teaching {len(taught)}, which can take ten minutes")
    started = time.perf_counter()
    peer = Anomalib(image_size)
    peer.fit(dataset, taught)
    fit_seconds = time.perf_counter() - started
    progress(f"{LIBRARY}: judging {len(judged)}")
    peer.judge(dataset, judged[0])  # the first image pays for what is made once
    registry.use_threads(1)
    try:
        started = time.perf_counter()
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            judgements = list(pool.map(lambda sample: peer.judge(dataset, sample), judged))
        seconds = time.perf_counter() - started
    finally:
        registry.use_threads(threads)
    pixels = sum(pixel_counts(dataset, judgements).values(), PixelCounts.none())
    return {
        "library": f"{LIBRARY} {version(LIBRARY)}",
        **ranking(truth_of(judgements), scores_of(judgements)),
        "pixel_auroc": pixels.auroc(),
        "aupro": pixels.aupro(),
        "images_per_second": len(judged) / seconds,
        "fit_seconds": fit_seconds,
    }


class Anomalib:
    """Its PatchCore with its own reading and resizing of images."""

    def __init__(self, image_size: int) -> None:
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel
        from torchvision.transforms.v2 import Compose, Normalize, Resize

        self.preprocess = Compose(
            [Resize((image_size, image_size), antialias=True), Normalize([MEAN] * 3, [DEVIATION] * 3)]
        )
        self.model: Any = PatchcoreModel(layers=STAGES, backbone=BACKBONE, pre_trained=False)
        extractor = self.model.feature_extractor.feature_extractor
        # The names differ but the order is the same; what lies beyond the last stage is left out.
        extractor.load_state_dict(
            dict(zip(extractor.state_dict(), read_weights(weights_path()).values(), strict=False))
        )

    def fit(self, dataset: Dataset, taught: Sequence[Sample]) -> None:
        self.model.train()
        self.model.feature_extractor.eval()
        for sample in taught:
            self.model(self.read(dataset, sample))
        self.model.subsample_embedding(CORESET_SHARE)
        self.model.eval()

    def judge(self, dataset: Dataset, sample: Sample) -> Judgement:
        with torch.inference_mode():
            answer = self.model(self.read(dataset, sample))
        score = float(answer.pred_score)
        return Judgement(sample, Prediction(score, score, answer.anomaly_map[0, 0].numpy()))

    def read(self, dataset: Dataset, sample: Sample) -> torch.Tensor:
        from anomalib.data.utils.image import read_image

        pixels: torch.Tensor = self.preprocess(read_image(dataset.file(sample.path), as_tensor=True))[None]
        return pixels
