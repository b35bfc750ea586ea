"""Tensors as they are kept on disk: in half precision, where that holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Arrays = dict[str, NDArray[Any]]


def halved(tensor: Tensor) -> NDArray[Any]:
    """In single precision where half has no number for a value."""
    half = tensor.half()
    kept = half if half.isfinite().all() else tensor.float()
    return np.asarray(kept.cpu().numpy())
