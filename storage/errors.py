"""Every error adline raises on purpose; the docstring is the default message, attributes carry the facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID


class AdlineError(Exception):
    """adline could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SettingsError(AdlineError):
    """The configuration is wrong."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class LineBusy(AdlineError):
    """Another adline process holds this folder."""

    def __init__(self, home: Path, pid: int, what: str = "start") -> None:
        self.home, self.pid, self.what = home, pid, what
        running = "runs the line" if what == "start" else f"runs `adline {what}`"
        super().__init__(f"process {pid} already {running} in {home}; stop it with `adline stop` or let it end")


class ServiceFailed(AdlineError):
    """A service (Postgres, Valkey) could not be started or reached."""


class DatabaseUnavailable(ServiceFailed):
    """Postgres does not answer."""


class SchemaOutdated(AdlineError):
    """The database schema is not the one this version needs; run `adline db migrate`."""


class StreamUnavailable(ServiceFailed):
    """Redis does not answer."""


class StopAsked(AdlineError):
    """The worker was told to stop while it waited; what it had in hand is delivered again."""


class DiskFull(AdlineError):
    """The disk has no room for another image; the line holds until there is."""

    def __init__(self, path: Path, free_bytes: int, needed_bytes: int) -> None:
        self.path, self.free_bytes, self.needed_bytes = path, free_bytes, needed_bytes
        super().__init__(f"{path}: {free_bytes >> 20} MiB free, {needed_bytes >> 20} MiB needed; the line holds")


class InspectionFailed(AdlineError):
    """This part cannot be inspected: its verdict is ERROR, with this message as the reason."""


class CameraError(InspectionFailed):
    """The camera failed."""

    def __init__(self, camera: str, message: str | None = None) -> None:
        self.camera = camera
        super().__init__(f"camera {camera}: {message or (type(self).__doc__ or '').strip()}")


class CameraSettingRefused(CameraError):
    """The camera does not take this setting."""


class CameraTimeout(CameraError):
    """The camera delivered no frame in time."""


class CameraLost(CameraError):
    """The camera is not reachable."""


class FrameIncomplete(CameraError):
    """The camera delivered an incomplete frame."""


class FrameMismatch(CameraError):
    """The camera's frame counter does not fit the triggers: this frame may show another part."""


class SourceExhausted(CameraError):
    """The image source has no further image."""


class ViewsMissing(InspectionFailed):
    """At least one view of the part is missing or incomplete."""

    def __init__(self, station: str, failures: Mapping[str, InspectionFailed]) -> None:
        self.station, self.failures = station, dict(failures)
        super().__init__(f"station {station}: {'; '.join(str(failure) for failure in failures.values())}")


class ImageUnreadable(InspectionFailed):
    """The image cannot be decoded."""


class ImageMissing(InspectionFailed):
    """The stored image is not there."""

    def __init__(self, path: Path, wanted: str) -> None:
        self.path, self.wanted = path, wanted
        super().__init__(f"{path}: the stored image {wanted} is not there")


class ImageAltered(InspectionFailed):
    """The stored image no longer has the hash it was stored under."""

    def __init__(self, path: Path, wanted: str, found: str) -> None:
        self.path, self.wanted, self.found = path, wanted, found
        super().__init__(f"{path}: stored as SHA-256 {wanted}, found {found}; the image was altered")


class ImageSizeRefused(InspectionFailed):
    """The image is not of an allowed size."""


class ScoreInvalid(InspectionFailed):
    """The detector returned a score that is not a number in [0, 1]."""


class ModelError(AdlineError):
    """The model cannot be used."""


class ModelMissing(ModelError):
    """No model is deployed for this recipe."""


class ModelAltered(ModelError):
    """A file of the model does not have the SHA-256 that was recorded for it."""

    def __init__(self, path: Path, wanted: str, found: str) -> None:
        self.path, self.wanted, self.found = path, wanted, found
        super().__init__(f"{path}: recorded with SHA-256 {wanted}, found {found}; the model was altered")


class DownloadAltered(ModelAltered):
    """What was fetched does not have the SHA-256 that was promised; it was deleted."""

    def __init__(self, path: Path, wanted: str, found: str) -> None:
        super().__init__(path, wanted, found)
        self.args = (f"{path}: SHA-256 is {found}, must be {wanted}; the file was deleted, fetch it again",)


class ModelShapeWrong(ModelError):
    """The weights do not fit the model."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        more = f"\n... and {len(problems) - 5} more" if len(problems) > 5 else ""
        super().__init__("the weights do not fit the model:\n" + "\n".join(problems[:5]) + more)


class ModelConfigurationWrong(ModelError):
    """The model is not one that adline can use."""


class WeightsMissing(ModelMissing):
    """The weights are not in the models folder."""


class WeightsUnreadable(ModelError):
    """The file is not one of the weight formats adline reads."""


class DownloadFailed(ModelError):
    """The weights could not be downloaded."""


class ConformanceFailed(ModelError):
    """The model does not compute what the reference case says."""


class DeploymentRefused(ModelError):
    """The version cannot be deployed so."""


class SecondPersonNeeded(DeploymentRefused):
    """Another person has to approve it: an engineer or an admin who did not ask for it."""


class ThresholdsRefused(ModelError):
    """The thresholds cannot judge parts."""


class TeachingFailed(ModelError):
    """The model could not be taught from the given images."""

    def __init__(self, message: str | None = None, *, needed: int | None = None, given: int | None = None) -> None:
        self.needed, self.given = needed, given
        super().__init__(message)


class DatasetMissing(TeachingFailed):
    """The dataset is not installed."""


class DatasetInvalid(AdlineError):
    """The data set cannot be used."""

    def __init__(self, where: Path, what: str, *, row: int | str | None = None, given: object, allowed: str) -> None:
        self.where, self.what, self.row, self.given, self.allowed = where, what, row, given, allowed
        place = f"{where}" if row is None else f"{where}, row {row}"
        super().__init__(f"{place}: {what}: given {given!r}; allowed: {allowed}")


class PoolUnreadable(AdlineError):
    """An image of the protected pool cannot be read: a pool with holes would flatter every model."""

    def __init__(self, name: str, said: str) -> None:
        self.name, self.said = name, said
        super().__init__(f"protected image {name}: {said}; no model can be judged until it is back")


class PoolsDiffer(AdlineError):
    """Two models can only be compared on the same protected parts."""


class DriftRefused(AdlineError):
    """The drift alarm cannot be shown or acknowledged."""


class PeerMissing(AdlineError):
    """The library to compare with is not installed."""

    def __init__(self, library: str) -> None:
        self.library = library
        super().__init__(f"{library} is not installed in this environment; `pip install {library}`, then measure again")


class StaleTrigger(InspectionFailed):
    """The trigger was redelivered after the part had left the station."""


class Overloaded(InspectionFailed):
    """Inference was behind and the station is set to drop rather than wait."""


class EventUnreadable(AdlineError):
    """An entry of the stream is not an event this version knows."""


class FileInTheWay(AdlineError):
    """The file cannot be written."""

    def __init__(self, path: Path, message: str | None = None) -> None:
        self.path = path
        super().__init__(message or f"{path} is already there; --force overwrites it")


class LineNotRunning(AdlineError):
    """No line runs here."""

    def __init__(self, home: Path) -> None:
        self.home = home
        super().__init__(f"no line runs in {home}; `adline start` starts it")


class LineSilent(AdlineError):
    """The line runs and does not answer."""


class LineRefused(AdlineError):
    """The line did not do what was asked of it."""


class LineStuck(AdlineError):
    """The line was asked to stop and is still there."""

    def __init__(self, pid: int, seconds: float) -> None:
        self.pid, self.seconds = pid, seconds
        super().__init__(f"process {pid} was asked to stop {seconds:g} s ago and is still there; see its logs")


class NothingRecorded(AdlineError):
    """There are no records here yet."""

    def __init__(self, home: Path) -> None:
        self.home = home
        super().__init__(f"there are no records in {home}; `adline start` makes them, --config names another place")


class NotOnRecord(AdlineError):
    """The records do not know it."""


class ReviewMissing(NotOnRecord):
    """There is no such review."""


class ReviewStale(AdlineError):
    """The review has moved on: what was asked was based on an older state of it.

    given is the token that was sent, current the review's state now.
    """

    def __init__(self, review_id: UUID, given: int | None, current: Mapping[str, Any], why: str) -> None:
        self.review_id, self.given, self.current = review_id, given, dict(current)
        super().__init__(f"review {review_id}: {why}")


class ResolutionRefused(AdlineError):
    """The decision is not one that can be recorded for this part."""


class DefectRefused(AdlineError):
    """The defect book cannot hold this entry."""


class BrowserMissing(AdlineError):
    """There is no Chromium to look at the pages with."""


class BrowserFailed(AdlineError):
    """The browser did not do what it was asked."""


class QuestionRefused(AdlineError):
    """The records do not answer this."""


class AuditorMissing(AdlineError):
    """The database has no auditor who may only read, so no free questions are answered.

    Let its administrator run `CREATE ROLE adline_auditor; GRANT adline_auditor TO <the user of database.url>;`
    and give that user the right to change the schema's functions; then run `adline db migrate`.
    """


class PeopleError(AdlineError):
    """This cannot be done to a user."""


class UserNameRefused(PeopleError):
    """No user can have this name."""

    def __init__(self, given: str) -> None:
        self.given = given
        super().__init__(f"user name {given!r}: allowed are at most 64 letters, digits and . _ @ + - and no blanks")


class UserUnknown(PeopleError):
    """There is no such user."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no user {name!r}; `adline user list` shows them")


class UserExists(PeopleError):
    """There is such a user already."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is a user {name!r} already; `adline user passwd` and `role` change it")


class LastAdmin(PeopleError):
    """Somebody must be left who may do everything."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} is the only admin left; make another one first")


class PasswordRefused(PeopleError):
    """The password is too easily guessed."""


class TokenUnknown(PeopleError):
    """There is no such token."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"there is no token {number} in use; `adline user token list` shows them")


class SignInRefused(PeopleError):
    """No user has this name with this password."""


class SignInLimited(PeopleError):
    """There were too many tries to sign in."""

    def __init__(self, wait_seconds: int) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"too many tries to sign in; the next one is heard in {wait_seconds} s")


class TrainingError(AdlineError):
    """A training run cannot do this."""


class TrainingRunUnknown(NotOnRecord):
    """There is no such training run."""

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        super().__init__(f"there is no training run {run_id}; `adline train list` shows them")


class TrainingEnded(TrainingError):
    """The training run has ended already."""

    def __init__(self, run_id: UUID, state: str) -> None:
        self.run_id, self.state = run_id, state
        super().__init__(f"training run {run_id} has ended already: {state}")


class TrainingCancelled(TrainingError):
    """Somebody cancelled the training run."""


class TrainingRefused(TrainingError):
    """This cannot be trained."""


class RecipeUnknown(NotOnRecord):
    """There is no such recipe."""


class SnapshotError(AdlineError):
    """This cannot be done with a dataset snapshot."""


class SnapshotUnknown(SnapshotError):
    """There is no such snapshot."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no snapshot {name!r}; `adline dataset list` shows them")


class SnapshotRefused(SnapshotError):
    """No snapshot can be made of this."""


class NothingToSnapshot(SnapshotError):
    """There is nothing a snapshot could be made of."""
