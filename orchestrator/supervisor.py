"""The actors: started, watched, stopped. Ray is imported in this file alone."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import psutil

from orchestrator.logs import log_to_file
from orchestrator.processes import ProcessMark
from storage.errors import ServiceFailed
from workers.consumer import Status
from workers.detectors.detector import Image

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
ANSWER_SECONDS = 3.0
ENDING_SECONDS = 3.0
INLINE_BYTES = 1 << 20
HOT_WAIT_SECONDS = 0.05  # a frame is offered while its event is on the way
PENDING_CALLS = 256  # to a worker that is restarting; hot frames beyond them are not offered
STALLED_SECONDS = 60.0  # a loop that has not come round for this long is stuck: the worker is replaced
RAY_SERVERS = ("gcs_server", "raylet")
LONG_STATES = ("starting", "loading", "teaching", "opening")  # may be busy for longer than that

RAY = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would run its workers at nice 15: whatever else the machine does would hold the line up.
    "RAY_worker_niceness": "0",
    "RAY_max_direct_call_object_size": str(INLINE_BYTES),
    # Ray would keep a record of each call, of which there is one a frame: 80 MB after 20,000 parts.
    "RAY_task_events_report_interval_ms": "0",
}
"""Read by Ray when it is imported; what the user has set stays."""

STEADY_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
}
"""For glibc, inherited by the workers: a loop in a thread otherwise gives the pages of each image back to the kernel
and faults them in again, a seventh of the time of scoring."""

ADDED_BY_LIBRARIES = {
    "RAY_CLIENT_MODE": "0",
    "PYTHONBREAKPOINT": "ray.util.rpdb._driver_set_trace",
    "KMP_DUPLICATE_LIB_OK": "True",
    "KMP_INIT_AT_FORK": "FALSE",
}
"""What Ray, and in a worker scikit-learn, would put into the environment when they are imported."""


class Worker(Protocol):
    """What every worker is: a status, and a loop that runs until stopped."""

    status: Status

    def run(self, stop: threading.Event) -> None: ...


@dataclass(frozen=True)
class Task:
    """One worker to be run: where its class is, what it is given, what it needs of the machine."""

    stage: str
    name: str
    worker: str
    arguments: Mapping[str, Any]
    hot: bool = False
    here: bool = False
    """On this machine, also where Ray has others: what it is given or gives is in this machine's files."""
    num_cpus: float = 0.0
    num_gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerHealth:
    """What a worker said of itself; `beat_age_seconds` is how long ago its loop came round."""

    name: str
    stage: str
    pid: int = 0
    state: str = "starting"
    detail: str = ""
    handled: int = 0
    beat_age_seconds: float = 0.0
    resident_bytes: int = 0
    restarts: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether what it said of itself is of now."""
        return self.state not in ("starting", "restarting", "silent")

    @property
    def healthy(self) -> bool:
        return self.state in ("running", "done", "stopped")


@dataclass(frozen=True)
class Question:
    """How a worker is: asked, and not answered yet."""

    reference: Any
    asked_at: float

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.asked_at


class OfferedFrames:
    """Hot frames in Ray's object store, offered by capture to the inference workers, which keep the newest.

    Ray lends the pixels without a copy on one machine and gives them up when the last borrower does.
    """

    def __init__(self, size: int, borrowers: Sequence[Any]) -> None:
        self.size, self.borrowers = size, borrowers
        self.kept: OrderedDict[str, Image] = OrderedDict()
        self.arrived = threading.Condition()

    def put(self, key: str, pixels: Image) -> None:
        """Without waiting: who does not get it in time reads the file."""
        if not (self.size and self.borrowers):
            return
        import ray
        from ray.exceptions import PendingCallsLimitExceeded

        # A small frame goes along with the call, which is a millisecond or two sooner; a large one is lent, not copied.
        offered = pixels if pixels.nbytes < INLINE_BYTES else ray.put(pixels)
        for borrower in self.borrowers:
            with contextlib.suppress(PendingCallsLimitExceeded):  # it is restarting
                borrower.keep.remote(key, offered)

    def keep(self, key: str, pixels: Image) -> None:
        with self.arrived:
            self.kept[key] = pixels
            while len(self.kept) > self.size:
                self.kept.popitem(last=False)
            self.arrived.notify()

    def take(self, keys: Sequence[str]) -> dict[str, Image]:
        """The event may come a moment before the frame: waiting for it is cheaper than decoding the file."""
        with self.arrived:
            if self.size:
                self.arrived.wait_for(lambda: all(key in self.kept for key in keys), HOT_WAIT_SECONDS)
            return {key: self.kept.pop(key) for key in keys if key in self.kept}


class WorkerHost:
    """Actor: runs one worker's loop in a thread, so that health is answered while it works.

    When the loop crashes the process ends: Ray starts a new one, and the stream delivers again what was in hand.
    """

    def __init__(
        self, name: str, worker: str, arguments: dict[str, Any], hot: tuple[int, list[Any]] | None, logs: Path
    ) -> None:
        log_to_file(logs / f"{name}.jsonl", name)
        self.stop_event = threading.Event()
        self.frames = OfferedFrames(*hot) if hot else OfferedFrames(0, [])
        if hot:
            arguments = {**arguments, "hot": self.frames}
        module, _, class_name = worker.partition(":")
        self.status = Status()
        self.worker: Worker | None = None
        self.thread = threading.Thread(target=self.live, args=(module, class_name, arguments), name="loop")
        self.thread.start()

    def live(self, module: str, class_name: str, arguments: dict[str, Any]) -> None:
        try:
            self.worker = getattr(importlib.import_module(module), class_name)(**arguments)
            self.status = self.worker.status
            self.worker.run(self.stop_event)
            logger.info("the worker's loop has ended")
        except BaseException:  # the process ends here
            logger.critical("the worker died", exc_info=True)
            logging.shutdown()
            os._exit(1)

    def health(self) -> dict[str, Any]:
        status = self.status
        return {
            "pid": os.getpid(),
            "state": status.state,
            "detail": status.detail,
            "handled": status.handled,
            "beat_age_seconds": round(time.monotonic() - status.beat_at, 3),
            "resident_bytes": psutil.Process().memory_info().rss,
            "facts": dict(status.facts),
        }

    def keep(self, key: str, pixels: Image) -> None:
        """A hot frame offered by capture; Ray hands its pixels over without a copy."""
        self.frames.keep(key, pixels)

    def stop(self) -> None:
        """Return when the loop has ended."""
        self.stop_event.set()
        self.thread.join()


def on_this_machine() -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


class Supervisor:
    """Starts the tasks as Ray actors, restarts what dies or is stuck, and stops them in order."""

    def __init__(
        self,
        logs: Path,
        *,
        address: str | None = None,
        object_store_bytes: int,
        hot_frames: int,
        temporary: Path | None = None,
        token: Path | None = None,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self.logs, self.address, self.hot_frames = logs, address, hot_frames
        self.stalled_seconds = stalled_seconds
        self.object_store_bytes, self.temporary, self.token = object_store_bytes, temporary, token
        self.actors: dict[str, Any] = {}
        self.tasks: dict[str, Task] = {}
        self.healths: dict[str, WorkerHealth] = {}
        self.questions: dict[str, Question] = {}
        self.living: set[str] = set()  # whose process has answered, and is not known to have ended since
        self.watching = threading.Event()
        self.lock = threading.Lock()
        self.ray_in_use = threading.Lock()
        self.servers: list[ProcessMark] = []

    def set_environment(self) -> None:
        """Put every variable into the environment that is going to be there, while this is the only thread.

        A new name may move the C library's list of them under a thread that reads it, as libpq does with each
        connection: the process ends with a segmentation fault. A name that is there can be set at any time.
        """
        if self.address is None:
            # Read by Ray when it is imported: with it, its sockets listen on 127.0.0.1 and nowhere else.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            if self.token:
                # Ray would keep it in the user's home, which an account for services may not have.
                os.environ["RAY_AUTH_TOKEN_PATH"] = str(self.token)
                os.environ.setdefault("RAY_AUTH_MODE", "token")
        for name, value in (RAY | STEADY_MEMORY | ADDED_BY_LIBRARIES).items():
            os.environ.setdefault(name, value)

    def connect(self) -> None:
        """Start Ray on this machine, all of its sockets on 127.0.0.1; or join the configured cluster."""
        self.set_environment()
        import ray

        options: dict[str, Any] = {"address": self.address or "local", "namespace": "adline"}
        if self.address is None:
            options |= {"object_store_memory": self.object_store_bytes, "include_dashboard": False}
            options |= {"_temp_dir": str(self.temporary)} if self.temporary else {}
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"the cluster at {self.address}" if self.address else "Ray on this machine"
            raise ServiceFailed(f"{where} cannot be reached: {error}") from error
        if self.address is None:
            children = psutil.Process().children()
            self.servers = [ProcessMark.of(one, one.name()) for one in children if one.name() in RAY_SERVERS]

    def machines(self) -> list[dict[str, float]]:
        """What each machine has in all, as Ray counts it: CPU, GPU, and custom resources."""
        import ray

        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own
        return [dict(node["Resources"]) for node in nodes if node["Alive"]]

    def lost(self) -> str | None:
        """Which of Ray's own processes has ended: its workers end with it, and no new ones are started."""
        return next((mark.what for mark in self.servers if mark.process() is None), None)

    def reconnect(self) -> None:
        """Start Ray and every worker anew. To be called in the thread that called connect."""
        import ray

        with self.ray_in_use:
            ray.shutdown()
            self.connect()
            with self.lock:
                tasks = [self.tasks[name] for name in self.actors]
                self.actors, self.tasks, self.questions, self.living = {}, {}, {}, set()
            self.start(tasks)

    def actor(self, plain: type, max_concurrency: int, **options: Any) -> Any:
        """A plain class as an actor that is started again whenever it dies."""
        import ray

        return ray.remote(plain).options(
            **{"num_cpus": 0, "max_restarts": -1, "max_concurrency": max_concurrency, **options}
        )

    def start(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            options: dict[str, Any] = {
                "num_cpus": task.num_cpus,
                "num_gpus": task.num_gpus,
                "resources": dict(task.resources),
            }
            host = self.actor(WorkerHost, max_concurrency=4, max_pending_calls=PENDING_CALLS, **options)
            if task.here:
                options["scheduling_strategy"] = on_this_machine()
            hot = (self.hot_frames, self.borrowers(task)) if task.hot else None
            with self.lock:
                self.tasks[task.name] = task
                self.healths.setdefault(task.name, WorkerHealth(task.name, task.stage))
                self.actors[task.name] = host.remote(task.name, task.worker, dict(task.arguments), hot, self.logs)

    def borrowers(self, task: Task) -> list[Any]:
        """Whom this worker offers its hot frames: those that take them and were started before it."""
        return [self.actors[name] for name, other in self.tasks.items() if other.hot and other.stage != task.stage]

    def watch(self, also: Callable[[], None] = lambda: None) -> threading.Thread:
        """Ask every worker how it is, again and again, in a thread; `also` runs with each round."""
        thread = threading.Thread(target=self.watch_loop, args=(also,), name="watch workers", daemon=True)
        thread.start()
        return thread

    def watch_loop(self, also: Callable[[], None]) -> None:
        while not self.watching.wait(CHECK_SECONDS):
            for step in (self.check_alone, also):
                try:
                    step()
                except Exception:  # nobody else looks after the workers: what one round stumbles over ends no other
                    logger.exception("a round of watching the workers failed")

    def check_alone(self) -> None:
        with self.ray_in_use:
            self.check()

    def check(self) -> None:
        """Ask all at once, but nobody who still owes an answer: one that has no place yet would pile them up."""
        import ray

        with self.lock:
            for name, actor in self.actors.items():
                if name not in self.questions:
                    self.ask(name, actor)
            questions = dict(self.questions)
        recent = [one.reference for one in questions.values() if one.age_seconds < ANSWER_SECONDS]
        if recent:
            ray.wait(recent, num_returns=len(recent), timeout=ANSWER_SECONDS)
        for name, question in questions.items():
            self.hear(name, question)

    def ask(self, name: str, actor: Any) -> None:
        from ray.exceptions import RayError

        try:
            self.questions[name] = Question(actor.health.remote(), time.monotonic())
        except RayError as error:  # too many calls wait for it: its own health and its frames
            logger.warning("%s: cannot be asked how it is: %s", name, error)

    def hear(self, name: str, question: Question) -> None:
        """Take what it says. What has died is started again by Ray; what lives and says nothing is replaced."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            answer: dict[str, Any] = ray.get(question.reference, timeout=0)
        except GetTimeoutError:
            self.note_silence(name, question.age_seconds)
        except RayError:  # dead, or being born again
            if self.settle(name, question):
                self.note_death(name)
        else:
            if self.settle(name, question):
                self.note(name, answer)

    def settle(self, name: str, question: Question) -> bool:
        """The question is answered; False when another thread, or a stop, was first."""
        with self.lock:
            return self.questions.get(name) is question and bool(self.questions.pop(name))

    def note_silence(self, name: str, seconds: float) -> None:
        with self.lock:
            before = self.healths.get(name)
            if before is None or name not in self.living or seconds < ANSWER_SECONDS:
                return
            self.healths[name] = replace(before, state="silent", detail=f"no answer for {seconds:.0f} s")
        if seconds > self.stalled_seconds:
            self.replace_stalled(name, "it does not answer and has not for", seconds)

    def note_death(self, name: str) -> None:
        with self.lock:
            self.living.discard(name)
            if before := self.healths.get(name):
                self.healths[name] = replace(before, state="restarting" if before.pid else "starting", detail="")

    def note(self, name: str, answer: dict[str, Any]) -> None:
        with self.lock:
            before = self.healths.get(name)
            if before is None:
                return
            restarts = before.restarts + (1 if before.pid and answer["pid"] != before.pid else 0)
            self.healths[name] = now_is = replace(before, **answer, restarts=restarts)
            self.living.add(name)
        if now_is.beat_age_seconds > self.stalled_seconds and now_is.state not in LONG_STATES:
            self.replace_stalled(name, "its loop has been stuck for", now_is.beat_age_seconds)

    def replace_stalled(self, name: str, what: str, seconds: float) -> None:
        """Ray kills the process, also one that is stopped, on whatever machine it is, and starts another."""
        import ray

        with self.lock:
            actor = self.actors.get(name)
            self.living.discard(name)
        if actor is None:
            return
        logger.error("%s: %s %.0f s, replaced", name, what, seconds)
        with contextlib.suppress(ValueError):
            ray.kill(actor, no_restart=False)

    def health(self) -> list[WorkerHealth]:
        with self.lock:
            return list(self.healths.values())

    def stop_stage(self, stage: str, timeout_seconds: float) -> None:
        """Let the stage's workers end what they have in hand; then end their processes."""
        import ray

        with self.lock:
            names = [name for name, task in self.tasks.items() if task.stage == stage and name in self.actors]
            actors = {name: self.actors.pop(name) for name in names}
            for name in names:
                self.healths.pop(name)
                self.questions.pop(name, None)
                self.living.discard(name)
        stopping = [actor.stop.remote() for actor in actors.values()]
        if stopping:
            _, late = ray.wait(stopping, num_returns=len(stopping), timeout=timeout_seconds)
            if late:
                logger.warning("stage %s: %d workers did not stop in %.0f s", stage, len(late), timeout_seconds)
        for actor in actors.values():
            with contextlib.suppress(ValueError):
                ray.kill(actor)

    def shutdown(self) -> None:
        """Leave Ray; on this machine all of its processes end."""
        self.watching.set()
        import ray

        workers = [worker for server in self.servers for worker in descendants(server)]
        ray.shutdown()
        # Ray does not wait for its workers: one that takes long to give its memory back would outlive the line.
        _, alive = psutil.wait_procs(workers, timeout=ENDING_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def descendants(mark: ProcessMark) -> list[psutil.Process]:
    try:
        process = mark.process()
        return process.children(recursive=True) if process else []
    except psutil.NoSuchProcess:
        return []
