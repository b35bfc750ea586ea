"""Reads what tests.peers.write_labels wrote with Label Studio's own converter; `make label-studio` runs both.

label-studio-sdk cannot be installed beside adline: it brings opencv-python-headless, which overwrites opencv-python's
files. So this runs in an environment of its own, imports nothing of adline, and nothing else imports it.
"""

import json
import sys
from pathlib import Path

import numpy as np
from label_studio_sdk.converter import Converter

BOX, POLYGON = [2.0, 3.0, 6.0, 4.0], [10.0, 1.0, 18.0, 1.0, 18.0, 9.0]


def main(folder: Path) -> None:
    export = folder / "labelstudio"
    converter = Converter((export / "label_config.xml").read_text(), str(export), download_resources=False)
    for kind in ("JSON_MIN", "CSV", "COCO", "BRUSH_TO_NUMPY"):
        (folder / kind).mkdir()
        converter.convert(str(export / "tasks.json"), str(folder / kind), kind, is_dir=False)
    first, second = json.loads((folder / "JSON_MIN" / "result.json").read_text())
    assert (first["decision"], second["decision"]) == ("anomaly", "normal")
    assert first["defects"] == {"choices": ["crack", "scratch"]}
    box, polygon = json.loads((folder / "COCO" / "result.json").read_text())["annotations"]
    assert box["bbox"] == BOX and polygon["segmentation"] == [POLYGON], (box, polygon)
    (brush,) = (folder / "BRUSH_TO_NUMPY").glob("*.npy")
    assert np.array_equal(np.load(brush), np.load(folder / "mask.npy")), "the brush, pixel by pixel"
    print("Label Studio's converter reads decisions, classes, box, polygon and brush as they were written")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
