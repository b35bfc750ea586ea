"""The settings of a station: its cameras, its trigger, the recipe it runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from orchestrator.section import NUMBER, Folder, Real, Resources, Section, Slug, Text, Whole


def index_as_text(given: object) -> object:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


Source = Annotated[
    Text,
    BeforeValidator(index_as_text),
    WithJsonSchema({"type": ["string", "integer"], "allowed": "a device index, a stream's URL or a video's path"}),
]


class Camera(Section):
    """One view of the part."""

    name: Slug = Field(default="camera-1", description="Name of the camera, unique within its station.")
    timeout_seconds: Real = Field(
        default=5.0, gt=0, le=600, description="Longest wait for a frame; after it the part's verdict is ERROR."
    )


class FolderCamera(Camera):
    """Images from a folder, one a trigger, in the order of their names."""

    kind: Literal["folder"] = Field(description="Images from a folder.")
    path: Folder = Field(
        description="Folder with the images; relative to the configuration's folder.", examples=["incoming"]
    )
    watch: bool = Field(default=False, description="Wait for new images instead of ending with the last one.")
    loop: bool = Field(default=False, description="Begin again after the last image; for trying out, not with watch.")
    pattern: Text = Field(default="*", description="Which files of the folder count, as a shell pattern such as *.png.")
    bayer: Literal["rggb", "bggr", "grbg", "gbrg"] | None = Field(
        default=None,
        description="Colour filter of images that are raw pixels. Not set: they are not.",
        examples=["rggb"],
    )


class ElpvCamera(Camera):
    """Electroluminescence images of real solar cells (extra `demo`), one a trigger."""

    kind: Literal["elpv"] = Field(description="Solar cells of the ELPV dataset (extra `demo`).")
    cells: Literal["mono", "poly", "all"] = Field(default="mono", description="Which cells pass the camera.")
    order: Literal["shuffled", "as_listed"] = Field(default="shuffled", description="Order of the cells.")
    seed: Whole = Field(default=0, ge=0, le=2**32 - 1, description="Makes the shuffled order repeatable.")


class OpenCvCamera(Camera):
    """A camera, a network stream or a video that OpenCV can open."""

    kind: Literal["opencv"] = Field(description="A camera, stream or video opened by OpenCV.")
    source: Source = Field(
        repr=False,  # a stream's URL may hold a password
        description="Device index (0 is the first camera), stream URL (rtsp://…) or path of a video.",
        examples=["0"],
    )
    width: Annotated[int, Field(ge=1, le=65536), NUMBER] | None = Field(
        default=None,
        description="Frame width in pixels to ask of the camera. Not set: as the camera is.",
        examples=[1280],
    )
    height: Annotated[int, Field(ge=1, le=65536), NUMBER] | None = Field(
        default=None,
        description="Frame height in pixels to ask of the camera. Not set: as the camera is.",
        examples=[960],
    )
    exposure_milliseconds: Annotated[float, Field(gt=0, le=60_000), NUMBER] | None = Field(
        default=None, description="Exposure time to ask of the camera. Not set: as the camera is.", examples=[5.0]
    )
    bayer: Literal["rggb", "bggr", "grbg", "gbrg"] | None = Field(
        default=None,
        description="Colour filter of a camera that delivers raw pixels. Not set: no raw pixels.",
        examples=["rggb"],
    )


class IntervalTrigger(Section):
    """A part every so often."""

    kind: Literal["interval"] = Field(description="A part every so often.")
    parts_per_minute: Real = Field(
        default=60.0, ge=0, le=60_000, description="Parts a minute; 0: as fast as the line takes them."
    )


class SoftwareTrigger(Section):
    """A part whenever `adline trigger` or the API says so."""

    kind: Literal["software"] = Field(description="A part when `adline trigger` or the API says so.")


class FileTrigger(Section):
    """A part for each image that arrives in the watched folder."""

    kind: Literal["file"] = Field(description="A part for each image that arrives in a watched folder.")
    settle_seconds: Real = Field(
        default=0.5, ge=0, le=600, description="How long a file must not change before it counts as complete."
    )


AnyCamera = Annotated[FolderCamera | ElpvCamera | OpenCvCamera, Field(discriminator="kind")]
AnyTrigger = Annotated[IntervalTrigger | SoftwareTrigger | FileTrigger, Field(discriminator="kind")]


class Station(Section):
    """Where one capture and one decision happen."""

    name: Slug = Field(description="Name of the station, unique on the line.", examples=["station-1"])
    recipe: Slug = Field(description="Name of the recipe this station runs; one of `recipes`.", examples=["part-a"])
    product: Text | None = Field(
        default=None, description="Kind of part, as the records will call it.", examples=["bracket"]
    )
    resources: Resources = Field(
        default={},
        description="Custom Ray resources its capture worker needs, such as the machine the camera is wired to.",
        examples=[{"camera_pc": 1}],
    )
    cameras: tuple[AnyCamera, ...] = Field(min_length=1, description="The station's cameras; each is one view.")
    trigger: AnyTrigger = Field(
        default=SoftwareTrigger(kind="software"), description="What says that a part is in place."
    )
