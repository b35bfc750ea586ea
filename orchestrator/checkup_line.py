"""What this line needs: its folder, port, services, schema, models and image folders."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from orchestrator import checkup_machine as machine
from orchestrator.account import account_for
from orchestrator.archive import records
from orchestrator.checkup import Finding, examine, failed, ok, warning
from orchestrator.configuration import Loaded, load_settings
from orchestrator.external import ExternalPostgres, ExternalRedis, masked
from orchestrator.folders import SOCKET_PATH_BYTES
from orchestrator.postgres import SOCKET as POSTGRES_SOCKET
from orchestrator.postgres_binaries import postgres_binaries
from orchestrator.processes import server_environment
from orchestrator.recipe import ElpvTeaching, FolderTeaching
from orchestrator.running import running_line
from orchestrator.settings import Settings
from orchestrator.station import ElpvCamera, FolderCamera
from orchestrator.valkey import EmbeddedValkey, valkey_binary
from orchestrator.wants import unmet, wants
from orchestrator.weights import named_weights
from storage.auditor import available
from storage.database import Database
from storage.errors import (
    AdlineError,
    ModelError,
    NothingRecorded,
    ServiceFailed,
    SettingsError,
    TeachingFailed,
)
from storage.model_files import check_model
from storage.overview import deployed, newest_record
from storage.records import CHAMPION
from storage.schema import schema_differences
from workers.retrain.known_good import groups_of, known_good

Check = Callable[[], Iterator[Finding]]


def check_up(config: Path | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Every check that can be made; without valid settings, those of the machine alone."""
    yield from examine([("python", machine.python), ("adline", machine.distribution), ("packages", machine.packages)])
    try:
        loaded = load_settings(config, environ)
    except SettingsError as error:
        yield failed("configuration", "; ".join(error.problems), "`adline config validate` checks it again")
        return
    yield ok("configuration", f"{loaded.path or 'none here: the demo line'}")
    yield from examine(checks_of(loaded))


def checks_of(loaded: Loaded) -> list[tuple[str, Check]]:
    settings, home = loaded.settings, loaded.home
    return [
        ("elpv-dataset", partial(machine.demo_data, uses_elpv(settings))),
        ("image folders", partial(image_folders, settings)),
        ("known-good parts", partial(known_good_groups, settings)),
        ("state folder", partial(state_folder, home)),
        ("disk", partial(disk, home, settings.images.minimum_free_megabytes << 20)),
        ("memory", machine.memory),
        ("shared memory", partial(machine.shared_memory, settings.ray.object_store_megabytes << 20)),
        ("open files", machine.open_files),
        ("sockets", partial(sockets, home)),
        ("web port", partial(web_port, loaded)),
        ("user", partial(machine.user, home)),
        ("gpu", partial(machine.graphics, settings.inference.device)),
        ("reserved", partial(reserved, settings)),
        ("redis", partial(redis, loaded)),
        ("postgres", partial(postgres, loaded)),
        ("records", partial(on_record, loaded)),
    ]


def uses_elpv(settings: Settings) -> bool:
    cameras = [camera for station in settings.stations for camera in station.cameras]
    taught = [recipe.teach for recipe in settings.recipes.values()]
    return any(isinstance(one, ElpvCamera | ElpvTeaching) for one in [*cameras, *taught])


def image_folders(settings: Settings) -> Iterator[Finding]:
    wanted = {
        f"camera {station.name}/{camera.name}": camera.path
        for station in settings.stations
        for camera in station.cameras
        if isinstance(camera, FolderCamera)
    }
    wanted |= {
        f"recipe {name}": recipe.teach.path
        for name, recipe in settings.recipes.items()
        if isinstance(recipe.teach, FolderTeaching)
    }
    for what, path in wanted.items():
        if path.is_dir() and os.access(path, os.R_OK | os.X_OK):
            yield ok("image folders", f"{what}: {path}")
        else:
            yield failed(
                "image folders", f"{what}: {path} is no folder that can be read", "make it, or change the path"
            )


def known_good_groups(settings: Settings) -> Iterator[Finding]:
    for name, recipe in settings.recipes.items():
        if not isinstance(recipe.teach, FolderTeaching) or recipe.teach.groups is None:
            continue
        teach = recipe.teach.model_dump()
        try:
            groups = groups_of(name, teach, known_good(name, teach)) or []
        except TeachingFailed as error:
            yield failed(
                "known-good parts", str(error), "correct the file, or unset it if each image shows another part"
            )
        else:
            yield ok("known-good parts", f"recipe {name}: {len(groups)} images of {len(set(groups))} parts")


def existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def state_folder(home: Path) -> Iterator[Finding]:
    place = existing(home)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        yield ok("state folder", str(home) if place == home else f"{home} can be made")
    else:
        mend = "run adline as the user that owns it, or name another with ADLINE_HOME"
        yield failed("state folder", f"{place} cannot be written", mend)


def disk(home: Path, minimum_free_bytes: int) -> Iterator[Finding]:
    free = shutil.disk_usage(existing(home)).free
    words = f"{free >> 20} MiB free, the line holds below {minimum_free_bytes >> 20} MiB"
    mend = "make room, or lower images.minimum_free_megabytes"
    if free < minimum_free_bytes:
        yield failed("disk", words, mend)
    elif free < 2 * minimum_free_bytes:
        yield warning("disk", words, mend)
    else:
        yield ok("disk", words)


def sockets(home: Path) -> Iterator[Finding]:
    """A deep folder's sockets are reached by a short link in the temporary folder."""
    wanted = len(os.fsencode(home / "postgres" / "data" / POSTGRES_SOCKET))
    if wanted <= SOCKET_PATH_BYTES:
        yield ok("sockets", f"their paths have {wanted} of {SOCKET_PATH_BYTES} bytes")
        return
    temporary = Path(tempfile.gettempdir())
    if os.access(temporary, os.W_OK | os.X_OK):
        yield ok("sockets", f"the folder is deep; they are reached by a link in {temporary}")
    else:
        yield failed("sockets", f"the folder is deep and {temporary} cannot be written", "choose a shorter ADLINE_HOME")


def web_port(loaded: Loaded) -> Iterator[Finding]:
    server = loaded.settings.server
    if line := running_line(loaded):
        try:
            yield ok("web port", f"{line.url} is held by the running line (process {line.status()['pid']})")
        except AdlineError as error:
            yield warning("web port", str(error), "wait until the line is up, or see its logs")
        return
    trouble = port_trouble(server.host, server.port)
    if trouble is None:
        yield ok("web port", f"{server.port} on {server.host} is free")
    else:
        mend = "end what uses it, or choose another (server.port, ADLINE_SERVER__PORT)"
        yield failed("web port", f"{server.port} on {server.host} cannot be used: {trouble}", mend)


def port_trouble(host: str, port: int) -> str | None:
    """Why nobody could listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return "another program uses it" if error.errno == errno.EADDRINUSE else str(error.strerror or error)
    return None


def reserved(settings: Settings) -> Iterator[Finding]:
    """What stages want of Ray; what the machines of a cluster have is asked at the start."""
    wanted = wants(settings)
    if not wanted or settings.ray.address:
        words = f"compared with the cluster at {settings.ray.address} at the start" if wanted else "nothing"
        yield ok("reserved", words)
        return
    problems = unmet(wanted, [machine.reservable()])
    for problem in problems:
        yield failed("reserved", problem, "lower or unset it, or name a cluster that has it (ray.address)")
    if not problems:
        yield ok("reserved", "; ".join(map(str, wanted)))


def runnable(program: Path) -> str:
    """The version the program tells; ServiceFailed when it does not run."""
    try:
        done = subprocess.run(
            [program, "--version"], env=server_environment(), capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceFailed(f"{program} does not run: {error}") from error
    if done.returncode != 0:
        raise ServiceFailed(f"{program} does not run: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout.strip()


def redis(loaded: Loaded) -> Iterator[Finding]:
    if url := loaded.settings.stream.url:
        yield reached("redis", masked(url), lambda: ExternalRedis(url).trouble())
        return
    mend = "install again, or give a Redis by URL (stream.url, REDIS_URL)"
    try:
        yield ok("redis", f"embedded: {runnable(valkey_binary())}")
    except ServiceFailed as error:
        yield failed("redis", str(error), mend)
        return
    if (loaded.home / "run" / "valkey.json").exists() and EmbeddedValkey(loaded.home).is_alive():
        yield reached("redis", "running", EmbeddedValkey(loaded.home).trouble)


def reached(name: str, where: str, trouble: Callable[[], str | None]) -> Finding:
    try:
        found = trouble()
    except ServiceFailed as error:
        found = str(error)
    if found is None:
        return ok(name, f"{where}: answers")
    return failed(name, found, "start it, or correct its URL (user, password, host, port)")


def postgres(loaded: Loaded) -> Iterator[Finding]:
    if url := loaded.settings.database.url:
        yield reached("postgres", masked(url), lambda: ExternalPostgres(url).trouble())
        return
    try:
        # The account is the folder's; where there is none yet, the one that a start would choose.
        program = postgres_binaries(account_for(existing(loaded.home / "postgres"))) / "postgres"
        yield ok("postgres", f"embedded: {runnable(program)}")
    except ServiceFailed as error:
        yield failed("postgres", str(error), "install again, or give a Postgres by URL (database.url, DATABASE_URL)")


def on_record(loaded: Loaded) -> Iterator[Finding]:
    """What only the database knows; the embedded one is started for it."""
    try:
        with records(loaded) as used:
            yield from in_database(loaded, used.database_url)
    except NothingRecorded:
        yield ok("records", f"none yet in {loaded.home}; the first start makes them")
        yield from weights(loaded.settings, loaded.settings.used_recipes, loaded.home / "models")
        yield from machine.clock()
    except ServiceFailed as error:
        yield failed("records", str(error), f"see the logs in {loaded.home / 'logs'}")
        yield from machine.clock()


def in_database(loaded: Loaded, url: str) -> Iterator[Finding]:
    differences = schema_differences(url)
    if differences:
        mend = "`adline db migrate` (a start does it too); a newer schema needs the newer adline, or a backup restored"
        yield failed("schema", "; ".join(differences), mend)
        yield from machine.clock()
        return
    yield ok("schema", "as this version needs it")
    if not available(url):
        yield warning("auditor", "`adline audit sql` is not available", "`adline audit sql 'select 1'` says what to do")
    database = Database(url, pool_size=2)
    with closing(database), database.begin() as session:
        models, newest = deployed(session), newest_record(session)
    yield from machine.clock(newest.timestamp() if newest else None)
    taught = {model["recipe"] for model in models if model["alias"] == CHAMPION}
    untaught = [recipe for recipe in loaded.settings.used_recipes if recipe not in taught]
    yield from weights(loaded.settings, untaught, loaded.home / "models")
    for model in models:
        yield model_file(loaded.home / "models", model["recipe"], model["model_version"], model["sha256"])


def weights(settings: Settings, untaught: list[str], models: Path) -> Iterator[Finding]:
    """What the first model of these recipes will stand on."""
    for name in untaught:
        try:
            for stored in named_weights(settings.recipes[name], models):
                yield ok("weights", f"{name}: {stored.kind} {stored.name}")
        except ModelError as error:
            words, _, mend = str(error).partition("; ")
            yield failed("weights", f"{name}: {words}", mend)


def model_file(models: Path, recipe: str, version: str, sha256: str) -> Finding:
    try:
        check_model(models / version, sha256)
    except AdlineError as error:
        return failed("model", f"{recipe}: {error}", "restore the folder from a backup, or deploy another version")
    return ok("model", f"{recipe}: {version} is as it was recorded")
