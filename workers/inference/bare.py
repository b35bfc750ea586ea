"""The bare loop: the same detector on the same frames and nothing else; what the pipeline is measured against.

Run as a program. Each line read asks for so many frames, and for how long to rest before each (seconds); each line
written is the milliseconds they took, one by one.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from workers.detectors.registry import load, use_threads
from workers.frames import colour_frames


def main() -> None:
    """Arguments: model folder, its SHA-256, threads, frame width, frame height, image files (JSON list)."""
    folder, sha256, threads, width, height, files = sys.argv[1:]
    use_threads(int(threads))
    detector = load(Path(folder), sha256, "auto")
    frames = colour_frames([Path(file) for file in json.loads(files)], int(width), int(height))
    detector.predict(frames[:2])  # warm
    print(json.dumps([]), flush=True)
    number = 0
    for line in sys.stdin:
        took = []
        count, rest_seconds = line.split()
        for _ in range(int(count)):
            time.sleep(float(rest_seconds))
            begun = time.perf_counter()
            detector.predict([frames[number % len(frames)]])
            took.append(1000 * (time.perf_counter() - begun))
            number += 1
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
