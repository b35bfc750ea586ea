"""Images as the default detector sees them: one vector each, their principal components, and who stands apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler

from storage.images import Image
from workers.detectors.patchcore import Eye, PatchCoreConfiguration

Vectors = NDArray[np.float64]
TREES = 200
COMPONENTS = 16  # what the forest sees: in hundreds of channels each split is a guess


class Embedder:
    """PatchCore's embedding, which needs no teaching."""

    def __init__(self) -> None:
        configuration = PatchCoreConfiguration(local_contrast=False)  # brightness is what some images stand out by
        self.image_size, self.eye = configuration.image_size, Eye(configuration)

    def vector(self, image: Image) -> Vectors:
        (patches,) = self.eye.patches(image)
        return np.asarray(patches.embedding.numpy(), np.float64)


def components(vectors: Vectors) -> Vectors:
    """(images, channels) to (images, up to 16): the standardised channels' principal components, largest first."""
    count = min(COMPONENTS, *vectors.shape)
    found: Vectors = PCA(count, random_state=0).fit_transform(StandardScaler().fit_transform(vectors))
    return found


def outlier_scores(components: Vectors) -> Vectors:
    """Liu, Ting, Zhou, "Isolation Forest", ICDM 2008: above 0 an image is easier to set apart than most."""
    forest = IsolationForest(n_estimators=TREES, random_state=0, n_jobs=1).fit(components)
    return -np.asarray(forest.decision_function(components), np.float64)
