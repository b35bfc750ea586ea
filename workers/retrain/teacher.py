"""Makes the first model of a recipe, from known-good parts where there are any, and deploys it."""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage import records
from storage.code_version import code_version
from storage.database import Database
from storage.errors import ModelError, SettingsError, TeachingFailed
from storage.events import now
from storage.images import decode
from storage.models import ModelVersion
from workers.consumer import Status
from workers.detectors.calibration import promised
from workers.detectors.tiles import Tiles
from workers.detectors.weight_folder import LITE
from workers.retrain.known_good import groups_of, known_good

if TYPE_CHECKING:
    from workers.detectors.backbone import BackboneSource
    from workers.detectors.detector import Detector, Image
    from workers.detectors.registry import Weights

logger = logging.getLogger(__name__)

THREADS = 2
TaughtFrom = dict[str, str | None]
"""image (its file's name), sha256, group: for the auditor, and for cameras that must not show it (v_model_images)."""


class Teacher:
    """Runs once: teaches and deploys a model for each recipe it is given."""

    def __init__(
        self, *, database_url: str, models: Path, recipes: Mapping[str, Mapping[str, Any]], maximum_megapixels: float
    ) -> None:
        self.database = Database(database_url, pool_size=2)
        self.models, self.recipes, self.maximum_megapixels = models, recipes, maximum_megapixels
        self.status = Status()

    def run(self, stop: threading.Event) -> None:
        """A recipe that cannot be taught is said to have failed, with the reason; the line cannot start."""
        self.status.set("teaching", "importing the detector")
        from workers.detectors.registry import use_threads  # torch is heavy: only where it is used

        use_threads(THREADS)
        try:
            for name, recipe in self.recipes.items():
                self.teach(name, recipe, stop)
        except (ModelError, SettingsError) as error:
            self.status.set("failed", str(error))
            stop.wait()
            return
        self.status.set("done")
        stop.wait()

    def teach(self, name: str, recipe: Mapping[str, Any], stop: threading.Event) -> None:
        from workers.detectors.registry import teach

        day_0 = recipe["teach"] is None and recipe["detector"] == "anomalyclip"
        paths = [] if day_0 else known_good(name, recipe["teach"])

        def progress(done: int, total: int) -> None:
            self.status.set("teaching", f"{name}: {done} of {total} known-good images")
            if stop.is_set():
                raise TeachingFailed(f"recipe {name}: stopped while it was taught")

        groups = None if day_0 else groups_of(name, recipe["teach"], paths)
        seen: list[str] = []
        detector = teach(
            recipe["detector"],
            self.images(paths, seen, Tiles.parse(recipe["tiles"]).minimum_side(recipe["image_size"])),
            image_size=recipe["image_size"],
            tiles=recipe["tiles"],
            local_contrast=recipe["local_contrast"],
            target_false_reject_rate=recipe["target_false_reject_rate"],
            review_share=recipe["review_share"],
            seed=recipe["seed"],
            groups=groups,
            progress=lambda done: progress(done, len(paths)),
            weights=self.weights(recipe),
        )
        facts = zip(paths, seen, groups or repeat(None, len(paths)), strict=True)
        taught_from = [{"image": path.name, "sha256": sha256, "group": group} for path, sha256, group in facts]
        self.deploy(name, recipe, detector, taught_from)

    def weights(self, recipe: Mapping[str, Any]) -> Weights | None:
        """What the recipe's detector stands on, where that does not come with it."""
        if recipe["detector"] != "anomalyclip":
            return self.tower(recipe)
        from workers.detectors.anomalyclip_teaching import Source

        choices = {key: recipe[key] for key in ("dpam_layer", "features_list") if recipe[key] is not None}
        return Source(self.models, recipe["clip"], recipe["prompts"], choices)

    def tower(self, recipe: Mapping[str, Any]) -> BackboneSource | None:
        from workers.detectors.backbone import BackboneSource

        if recipe["backbone"] == LITE:
            return None
        return BackboneSource(self.models, recipe["backbone"], recipe["features_list"])

    def images(self, paths: list[Path], seen: list[str], minimum_side: int) -> Iterator[Image]:
        """Decoded as serving decodes them; the SHA-256 of the bytes that were learned from goes into `seen`."""
        for path in paths:
            data = path.read_bytes()
            seen.append(hashlib.sha256(data).hexdigest())
            yield decode(data, minimum_side=minimum_side, maximum_megapixels=self.maximum_megapixels, from_outside=True)

    def deploy(self, name: str, recipe: Mapping[str, Any], detector: Detector, taught_from: list[TaughtFrom]) -> None:
        """The artefact is complete on disk before the row that names it; a crash leaves a folder nobody names."""
        promise = promised(detector.calibration)
        with self.database.begin() as session:
            version = records.next_model_id(session, name, f"{now():%Y%m%d}")
            folder = self.models / version
            shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed before its row was written
            sha256 = detector.save(folder)
            records.register_model(session, self.row(version, name, recipe, detector, sha256, taught_from))
            records.deploy(session, name, version, by="adline", reason=f"first start, no model before it; {promise}")
        logger.info("recipe %s: model %s from %d known-good images: %s", name, version, len(taught_from), promise)

    def row(
        self,
        version: str,
        name: str,
        recipe: Mapping[str, Any],
        detector: Detector,
        sha256: str,
        taught_from: list[TaughtFrom],
    ) -> ModelVersion:
        calibration = asdict(detector.calibration)
        return ModelVersion(
            id=version,
            recipe=name,
            detector=recipe["detector"],
            sha256=sha256,
            configuration={
                key: str(value) if isinstance(value, Path) else value for key, value in recipe.items() if key != "teach"
            }
            | {"taught_from": taught_from},
            ok_threshold=detector.ok_threshold,
            ng_threshold=detector.ng_threshold,
            metrics={"calibration": calibration, "promise": promised(detector.calibration)},
            parent=None,
            code_version=code_version(),
        )
