"""Every error adline raises on purpose; the docstring is the default message, attributes carry the facts."""

from __future__ import annotations

from pathlib import Path


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

    def __init__(self, home: Path, pid: int) -> None:
        self.home, self.pid = home, pid
        super().__init__(f"process {pid} already runs the line in {home}; stop it with `adline stop`")


class ServiceFailed(AdlineError):
    """A service (Postgres, Valkey) could not be started or reached."""


class DatabaseUnavailable(ServiceFailed):
    """Postgres does not answer."""


class SchemaOutdated(AdlineError):
    """The database schema is not the one this version needs; run `adline db migrate`."""


class StreamUnavailable(ServiceFailed):
    """Redis does not answer."""


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


class CameraTimeout(CameraError):
    """The camera delivered no frame in time."""


class CameraLost(CameraError):
    """The camera is not reachable."""


class FrameIncomplete(CameraError):
    """The camera delivered an incomplete frame."""


class SourceExhausted(CameraError):
    """The image source has no further image."""


class ImageUnreadable(InspectionFailed):
    """The image cannot be decoded."""


class ImageMissing(InspectionFailed):
    """The stored image is not there."""


class ImageAltered(InspectionFailed):
    """The stored image no longer has the hash it was stored under."""


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


class TeachingFailed(ModelError):
    """The model could not be taught from the given images."""


class StaleTrigger(InspectionFailed):
    """The trigger was redelivered after the part had left the station."""


class Overloaded(InspectionFailed):
    """Inference was behind and the station is set to drop rather than wait."""


class EventUnreadable(AdlineError):
    """An entry of the stream is not an event this version knows."""
