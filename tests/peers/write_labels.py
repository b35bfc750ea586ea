"""Writes labels of every kind as `adline queue export` does, and beside them what is drawn: for other readers.

python -m tests.peers.write_labels FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from storage.images import decode
from tests.unit.test_exchange import MARKED, stored
from workers.labeling.exchange import write


def main(folder: Path) -> None:
    store, labels = stored(folder, MARKED)
    write(store, labels, folder / "labelstudio", "labelstudio")
    mask = next(shape.mask for shape in labels[0].shapes if shape.mask is not None)
    np.save(folder / "mask.npy", decode(mask))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
