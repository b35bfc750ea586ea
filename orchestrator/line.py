"""The line: services, schema, model, workers and web port, up together and down in order."""

from __future__ import annotations

import logging
import platform
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.alone import alone
from orchestrator.background import Entered
from orchestrator.configuration import Loaded
from orchestrator.counting import Counting
from orchestrator.doorkeeper import signs_in_by_itself
from orchestrator.folders import private_folder, secret
from orchestrator.glance import Glance
from orchestrator.health import LineHealth, disk_health
from orchestrator.leftovers import forget, record_children, sweep
from orchestrator.lock import line_lock
from orchestrator.logs import last_words
from orchestrator.monitor import Service, ServiceMonitor
from orchestrator.pipeline import STAGES, TEACHER
from orchestrator.plan import Place, tasks, teach_task
from orchestrator.queue_routes import rules
from orchestrator.running import announced
from orchestrator.secret import masked_all
from orchestrator.services import Services, services
from orchestrator.settings import Settings
from orchestrator.supervisor import Supervisor, Task
from orchestrator.tally import Tally
from orchestrator.users import make_first_admin
from orchestrator.wants import unmet, wants
from orchestrator.web import listen, serve
from orchestrator.weights import missing_weights
from storage import model_versions, records
from storage.code_version import code_version
from storage.database import Database, migrate
from storage.errors import DatabaseUnavailable, ModelError, ServiceFailed, SettingsError, TeachingFailed
from storage.events import FrameCaptured, InspectionDecided, PartTriggered, new_id
from storage.model_files import check_model
from storage.stream import EventLog

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 3.0  # with the others: an orderly stop, Ray and services included, takes less than 10 s
STOP_SECONDS = 1.5
RESTARTS = 2  # a worker that died more often while the line starts will not live
CHILDREN_SECONDS = 5.0
COUNT_SECONDS = 2.0
RAY_FOLDER_CHARACTERS = 40  # Ray puts about 65 more into its sockets' paths, of which there may be 107


def say_nothing(step: str) -> None:
    return


@dataclass(frozen=True)
class Options:
    """What the command line asks of a run beyond the settings."""

    parts: int = 0
    plan: Callable[[Settings, Place], list[Task]] = tasks
    web: bool = True
    tell: Callable[[str], None] = print  # what a person must see, such as the first admin's password


class Line:
    """A line that is up."""

    def __init__(self, loaded: Loaded, ground: Ground, supervisor: Supervisor) -> None:
        self.loaded, self.settings, self.place = loaded, loaded.settings, ground.place
        self.database, self.log = ground.database, ground.log
        self.services, self.monitor, self.supervisor = ground.services, ground.monitor, supervisor
        self.tally = Tally()
        self.glance = Glance(self.log, Counting(lambda: self.database, rules(self.settings.labeling).ageing))
        self.is_demo, self.console_token = loaded.is_demo, secrets.token_urlsafe(32)
        self.started_at = time.monotonic()
        self.stopping = threading.Event()
        self.children_at = 0.0
        self.count_at = 0.0

    @property
    def run_id(self) -> UUID:
        return self.place.run_id

    @property
    def home(self) -> Path:
        return self.place.home

    @property
    def images(self) -> Path:
        return self.place.images

    @property
    def signs_in_by_itself(self) -> bool:
        return signs_in_by_itself(self.settings, self.is_demo)

    def health(self) -> LineHealth:
        """What is known of every part of the line, without asking anybody."""
        return LineHealth(
            line=self.settings.line.name,
            run_id=str(self.run_id),
            code_version=code_version(),
            uptime_seconds=time.monotonic() - self.started_at,
            workers=self.supervisor.health(),
            services=self.monitor.states(),
            disk=disk_health(self.place.images, self.settings.images.minimum_free_megabytes << 20),
            tally=self.tally.shown(),
            queue=self.glance.queue,
            dead_letters=self.glance.dead_letters,
        )

    def every_second(self) -> None:
        """Besides the workers: count what was completed; remember whose processes these are."""
        try:
            self.tally.follow(self.log)
        except ServiceFailed as error:
            logger.warning("the tally waits: %s", error)
        if time.monotonic() > self.children_at:
            self.remember_children()
            self.children_at = time.monotonic() + CHILDREN_SECONDS

    def remember_children(self) -> None:
        """A full disk must not end the watching of the workers, too."""
        try:
            record_children(self.place.home)
        except OSError as error:
            logger.warning("the processes of this run are not written down: %s", error)

    def mend(self) -> bool:
        """Start Ray and the workers anew when Ray itself has died; True when that was done.

        To be called in the thread that brought the line up: Ray ties its processes to it.
        """
        lost = self.supervisor.lost()
        if lost is None:
            return False
        logger.error("Ray's %s has ended: Ray and all workers are started anew", lost)
        self.supervisor.reconnect()
        logger.warning("Ray is back")
        return True

    def enough(self, parts: int) -> bool:
        """Whether so many are on record; the table is asked when the tally says so, and now and then."""
        if self.tally.parts() < parts and time.monotonic() < self.count_at:
            return False
        self.count_at = time.monotonic() + COUNT_SECONDS
        try:
            return self.recorded() >= parts
        except DatabaseUnavailable as error:
            logger.warning("the records are not counted now: %s", error)
            return False

    def recorded(self) -> int:
        with self.database.begin() as session:
            return records.recorded(session, self.run_id)

    def summary(self) -> dict[str, Any]:
        """What is on record of this run."""
        with self.database.begin() as session:
            summary = records.summarise_run(session, self.run_id)
            models = records.models_of_run(session, self.run_id)
        waiting = self.triggers_waiting() + self.in_flight()
        lost = max(0, self.log.triggered(str(self.run_id)) - summary.distinct - waiting)
        return {**summary.shown(), "lost": lost, "waiting": waiting, "model_version": ", ".join(models) or None}

    def in_flight(self) -> int:
        """Parts that are captured or decided and not yet recorded."""
        captured = self.log.backlog(self.log.key(FrameCaptured), "inference")
        return captured + self.log.backlog(self.log.key(InspectionDecided), "record")

    def triggers_waiting(self) -> int:
        """Triggers that were told and not captured; after a stop the next start takes them up."""
        return sum(
            self.log.backlog(self.log.key(PartTriggered, station.name), "capture") for station in self.settings.stations
        )

    def stop_workers(self) -> None:
        """Capture first; what is in flight is recorded, or stays in the streams for the next start."""
        self.stopping.set()
        first, *others = STAGES
        self.supervisor.stop_stage(TEACHER.name, 0.1)
        self.supervisor.stop_stage(first.name, STOP_SECONDS)
        deadline = time.monotonic() + DRAIN_SECONDS
        try:
            while self.in_flight() and time.monotonic() < deadline:
                time.sleep(0.02)
        except ServiceFailed as error:
            logger.warning("stopping without Redis: %s", error)
        for stage in others:
            self.supervisor.stop_stage(stage.name, STOP_SECONDS)


@dataclass(frozen=True)
class Ground:
    """What workers stand on: services that run and are watched, records and events, and this run's place in them."""

    services: Sequence[Service]
    monitor: ServiceMonitor
    database: Database
    log: EventLog
    place: Place


@contextmanager
def ground(loaded: Loaded, options: Options) -> Iterator[Ground]:
    """Start the services, bring the schema up to date, write the run down."""
    settings = loaded.settings
    with ExitStack() as stack:
        used = stack.enter_context(services(loaded.home, settings.database.url, settings.stream.url))
        monitor = ServiceMonitor(used.all)
        monitor.start()
        stack.callback(monitor.stop)
        database = Database(used.database_url, settings.database.pool_size)
        stack.callback(database.close)
        log = EventLog(used.stream_url)
        stack.callback(log.close)
        stack.enter_context(alone(settings, database, log))
        yield Ground(used.all, monitor, database, log, register(loaded, used, database, log, options))


@contextmanager
def line(loaded: Loaded, options: Options, say: Callable[[str], None] = say_nothing) -> Iterator[Line]:
    """Bring the line up; take it down in order when the block ends."""
    settings, home = loaded.settings, loaded.home
    with ExitStack() as stack:
        stack.enter_context(line_lock(home, "start"))
        port = stack.enter_context(listen(settings.server.host, settings.server.port)) if options.web else None
        sweep(home)
        stack.callback(forget, home)
        supervisor = Supervisor(
            home / "logs",
            address=settings.ray.address,
            object_store_bytes=settings.ray.object_store_megabytes << 20,
            hot_frames=settings.capture.hot_frames,
            temporary=ray_folder(home, stack),
            token=ray_token(home),
        )
        supervisor.set_environment()  # before there are threads
        say("starting Postgres, Valkey and Ray")
        starting = stack.enter_context(Entered(ground(loaded, options)))
        refuse_missing_weights(settings, home / "models", starting)
        stack.callback(supervisor.shutdown)
        supervisor.connect()
        refuse_unmet_wants(settings, supervisor, options.tell)
        say("bringing the records' schema up to date")
        up = Line(loaded, starting.result(), supervisor)
        stack.enter_context(up.glance.looking())
        stack.callback(up.stop_workers)
        if port:
            open_door(up, options)
            stack.enter_context(serve(up, port))
            stack.enter_context(announced(home, port, up.console_token))
        bring_up(up, options, say)
        yield up


def open_door(up: Line, options: Options) -> None:
    """Somebody can sign in: by being at this machine, or as the first admin."""
    if not up.signs_in_by_itself:
        with up.database.begin() as session:
            make_first_admin(session, options.tell)


def refuse_missing_weights(settings: Settings, models: Path, starting: Entered[Ground]) -> None:
    """A first model that cannot be made is told before Ray starts; one that is deployed has its own weights."""
    missing = missing_weights(settings, settings.used_recipes, models)
    if not missing:
        return  # the usual case does not wait for the records
    with starting.result().database.begin() as session:
        untaught = [error for recipe, error in missing.items() if records.deployed_model(session, recipe) is None]
    if untaught:
        raise untaught[0]


def refuse_unmet_wants(settings: Settings, supervisor: Supervisor, tell: Callable[[str], None]) -> None:
    """A worker that Ray can never place is told now: the line would wait for it without end.

    A cluster may lack a station's machine for a while: the other stations inspect meanwhile, and it is said to be away.
    """
    wanted, machines = wants(settings), supervisor.machines()
    refused = [want for want in wanted if settings.ray.address is None or want.stage != STAGES[0].name]
    if problems := unmet(refused, machines):
        raise SettingsError(problems)
    for problem in unmet(wanted, machines):
        tell(f"{problem}: waited for, while other stations inspect")


def bring_up(up: Line, options: Options, say: Callable[[str], None]) -> None:
    """Capture starts last, when there is a model; what is slow to import starts while it is taught."""
    settings, place = up.settings, up.place
    up.supervisor.watch(up.every_second)
    record_children(place.home)
    planned = options.plan(settings, place)
    untaught = without_model(up)
    up.supervisor.start([task for task in planned if task.stage != STAGES[0].name])
    if untaught:
        teach(up, untaught, say)
    wait_loaded(up, say)
    say("starting capture")
    up.supervisor.start([task for task in planned if task.stage == STAGES[0].name])


def wait_loaded(up: Line, say: Callable[[str], None]) -> None:
    """Parts that are triggered before the model is loaded would only wait, and spoil the line's latency."""
    while not up.health().model_check()["ok"]:
        workers = [one for one in up.supervisor.health() if one.stage == "inference"]
        if dying := next((one for one in workers if one.restarts > RESTARTS), None):
            raise ModelError(f"{dying.name} died {dying.restarts} times: {why_it_died(up.place.logs, dying.name)}")
        waiting = next((one for one in workers if one.detail), None)
        say(f"loading the model: {waiting.detail}" if waiting else "loading the model")
        up.mend()
        time.sleep(0.1)


def register(loaded: Loaded, used: Services, database: Database, log: EventLog, options: Options) -> Place:
    """Bring the schema up to date and write down which run of which line this is."""
    settings = loaded.settings
    migrate(used.database_url)
    run_id = new_id()
    with database.begin() as session:
        shown = masked_all(settings.model_dump(mode="json"))
        records.open_run(session, run_id, settings.line.name, code_version(), platform.node(), shown)
        for station in settings.stations:
            records.register_station(session, station.name, settings.line.name)
        recipe_ids = {
            name: records.register_recipe(session, name, settings.recipes[name].model_dump(mode="json"))
            for name in settings.used_recipes
        }
        taught_from = {name: model_versions.taught_from(session, name) for name in settings.used_recipes}
        highest = {station.name: records.highest_trigger_number(session, station.name) for station in settings.stations}
    for station_name, number in highest.items():
        log.seed_trigger_number(station_name, number)
    return Place(
        home=loaded.home,
        stream_url=used.stream_url,
        database_url=used.database_url,
        run_id=run_id,
        recipe_ids=recipe_ids,
        taught_from=taught_from,
        parts=options.parts,
    )


def without_model(up: Line) -> list[str]:
    """Recipes that have no model yet; a model whose file was altered stops the start."""
    untaught = []
    for recipe in up.settings.used_recipes:
        with up.database.begin() as session:
            version = records.deployed_model(session, recipe)
        if version is None:
            untaught.append(recipe)
        else:
            check_model(up.place.models / version.id, version.sha256)
    return untaught


def teach(up: Line, recipes: list[str], say: Callable[[str], None]) -> None:
    """Teach the first models; the workers import meanwhile."""
    up.supervisor.start([teach_task(up.settings, up.place, recipes)])
    while True:
        health = next((one for one in up.supervisor.health() if one.stage == TEACHER.name), None)
        if health is None:
            raise ModelError("teaching was stopped")
        if health.state == "failed":
            raise TeachingFailed(health.detail)
        if health.state == "done":
            break
        if health.restarts > RESTARTS:
            raise TeachingFailed(f"teaching died {health.restarts} times: {why_it_died(up.place.logs, health.name)}")
        up.mend()
        say(f"teaching {health.detail}" if health.detail else "teaching")
        time.sleep(0.1)
    up.supervisor.stop_stage(TEACHER.name, STOP_SECONDS)


def why_it_died(logs: Path, name: str) -> str:
    """The worker's last words; one that was killed, as by a system without memory, had none."""
    file = logs / f"{name}.jsonl"
    words = last_words(file)
    return f"{words} (see {file})" if words else f"see {file}"


def ray_token(home: Path) -> Path:
    """The file with what Ray's processes know each other by."""
    file = private_folder(home / "run") / "ray.token"
    secret(file)
    return file


def ray_folder(home: Path, stack: ExitStack) -> Path:
    """Ray's own files: under the state folder, or in a short temporary folder when that path is too long."""
    folder = home / "run" / "ray"
    if len(str(folder)) > RAY_FOLDER_CHARACTERS:
        folder = Path(tempfile.mkdtemp(prefix="adline-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder
