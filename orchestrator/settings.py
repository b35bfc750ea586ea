"""Every setting of the line: what it means, what it may be, what it is when nobody says."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.agreement import check_agreement
from orchestrator.recipe import Recipe
from orchestrator.section import Real, Resources, Section, Slug, Text, Whole, allowed, url_of
from orchestrator.station import Station

DatabaseUrl = Annotated[
    str,
    url_of("postgresql", "postgres", "postgresql+psycopg2"),
    allowed("a URL such as postgresql://user:password@host:5432/adline", secret=True),
]
StreamUrl = Annotated[
    str,
    url_of("redis", "rediss", "unix"),
    allowed("a URL such as redis://user:password@host:6379/0, rediss://… or unix://…", secret=True),
]
Names = Annotated[tuple[Text, ...], allowed("a list of texts that are not empty")]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$"), allowed('"auto", "cpu", "cuda" or "cuda:N"')]


class Line(Section):
    """The production line."""

    name: Slug = Field(default="line-1", description="Name of the line, as records and metrics call it.")


class Server(Section):
    """Operator pages, API, health and metrics: one web port."""

    host: Text = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 lets other machines in.")
    port: Whole = Field(default=8000, ge=1, le=65535, description="TCP port to listen on.")
    allowed_hosts: Names = Field(
        default=(),
        description="Names people type for this machine, besides its own and its addresses; others are refused.",
        examples=[["inspection.plant.example"]],
    )
    trusted_proxies: Names = Field(
        default=(),
        description="Addresses of reverse proxies that are believed whom they ask for, and whether by https.",
        examples=[["192.0.2.10"]],
    )
    open_metrics: bool = Field(default=False, description="Show /metrics without a token, too.")


class People(Section):
    """How people sign in."""

    password_minimum_characters: Whole = Field(
        default=15, ge=8, le=64, description="A password is at least so long; NIST SP 800-63B says 15."
    )
    session_idle_minutes: Whole = Field(
        default=60, ge=1, le=43_200, description="Who does nothing for so long has to sign in again."
    )
    session_hours: Whole = Field(
        default=12, ge=1, le=720, description="Who signed in so long ago has to sign in again, whatever they do."
    )


class Database(Section):
    """Postgres: the truth."""

    url: DatabaseUrl | None = Field(
        default=None,
        repr=False,
        description="Postgres to use; DATABASE_URL says the same. Not set: an embedded one in the state folder.",
        examples=["postgresql://adline:password@db.example:5432/adline"],
    )
    pool_size: Whole = Field(default=10, ge=2, le=1000, description="Connections each process keeps open at most.")


class Stream(Section):
    """Redis or Valkey: the events."""

    url: StreamUrl | None = Field(
        default=None,
        repr=False,
        description="Redis or Valkey to use; REDIS_URL says the same. Not set: an embedded one in the state folder.",
        examples=["redis://:password@redis.example:6379/0"],
    )


class Ray(Section):
    """The actors that do the work."""

    address: Text | None = Field(
        default=None,
        description="Ray cluster to join. Not set: this machine alone.",
        examples=["ray-head.example:6380"],
    )
    object_store_megabytes: Whole = Field(
        default=200, ge=80, le=1_048_576, description="Shared memory for frames on their way to inference."
    )


class Images(Section):
    """How frames are kept."""

    format: Literal["jpeg", "png"] = Field(
        default="jpeg", description="How camera pixels are stored; image files keep their original bytes."
    )
    jpeg_quality: Whole = Field(default=95, ge=1, le=100, description="Quality of stored JPEGs; higher is larger.")
    minimum_free_megabytes: Whole = Field(
        default=512, ge=0, le=1_073_741_824, description="The line holds when the disk has less room than this."
    )
    maximum_megapixels: Real = Field(default=100.0, gt=0, le=10_000, description="A larger image is refused.")
    minimum_side_pixels: Whole = Field(default=1, ge=1, le=65536, description="An image narrower or lower is refused.")


class Capture(Section):
    """From the trigger to the stored frame."""

    back_pressure: Literal["wait", "error"] = Field(
        default="wait", description="When inference is behind: wait with the next part, or record it as ERROR."
    )
    maximum_in_flight: Whole = Field(
        default=16,
        ge=1,
        le=100_000,
        description="Parts captured but not yet scored, of all stations, before back_pressure acts.",
    )
    hot_frames: Whole = Field(
        default=64,
        ge=0,
        le=100_000,
        description="Frames kept in shared memory for inference; older ones are read from disk.",
    )
    trigger_maximum_age_seconds: Real = Field(
        default=2.0,
        gt=0,
        le=86_400,
        description="An older, redelivered trigger is not captured by a live camera: the part has moved on.",
    )


class Inference(Section):
    """From the frame to the anomaly score."""

    replicas: Whole = Field(
        default=1, ge=1, le=1024, description="Inference workers; each holds one model on one device."
    )
    batch_size: Whole = Field(default=8, ge=1, le=1024, description="Frames scored together at most.")
    batch_deadline_milliseconds: Real = Field(
        default=0.0, ge=0, le=60_000, description="How long a batch that is not full waits for more frames."
    )
    device: Device = Field(default="auto", description="Where the model runs; auto takes a GPU when Ray grants one.")
    threads: Whole = Field(default=1, ge=1, le=1024, description="CPU threads of each inference worker.")


class Record(Section):
    """From the verdict to Postgres, and what is done about parts that got stuck."""

    batch_size: Whole = Field(default=64, ge=1, le=10_000, description="Verdicts written in one transaction at most.")
    sweep_seconds: Real = Field(
        default=10.0, gt=0, le=86_400, description="How often Postgres is asked for parts that are stuck."
    )
    give_up_seconds: Real = Field(
        default=120.0,
        gt=0,
        le=604_800,
        description="A part captured but not completed for this long is recorded as ERROR.",
    )
    maximum_deliveries: Whole = Field(
        default=5,
        ge=1,
        le=1000,
        description="An event delivered this often without success is set aside (dead letter).",
    )
    reclaim_idle_seconds: Real = Field(
        default=15.0,
        gt=0,
        le=86_400,
        description="An event unacknowledged for this long goes to another worker; longer than the slowest batch.",
    )


class Drift(Section):
    """Whether frames and scores still are what they were when the model began."""

    enabled: bool = Field(default=True, description="Whether a worker watches for drift.")
    interval_seconds: Real = Field(default=60.0, ge=0.1, le=86_400, description="How often frames are measured.")
    frames: Whole = Field(
        default=30, ge=1, le=1000, description="Frames of each camera that are measured at a time, 10 ms each."
    )
    window: Whole = Field(
        default=120, ge=20, le=10_000, description="So many frames are compared with as many first ones of the model."
    )
    brightness: Real = Field(default=0.07, gt=0, le=1, description="Change of brightness that is an alarm, as a share.")
    sharpness: Real = Field(
        default=0.12, gt=0, le=1, description="Change of fine against coarse details that is an alarm, as a share."
    )
    position: Real = Field(
        default=0.75, gt=0, le=64, description="Shift that is an alarm, in 256ths of the frame's side."
    )
    deviations: Real = Field(
        default=4.0, ge=2, le=20, description="Nor may chance explain such a change: so many standard deviations."
    )
    psi: Real = Field(
        default=0.25, gt=0, le=10, description="Population stability index of scores or embeddings that is much."
    )
    chance: Real = Field(
        default=0.001,
        gt=0,
        le=0.1,
        description="An alarm when chance makes scores or embeddings differ so much less often than this.",
    )


class Labeling(Section):
    """What people decide, and how they are asked."""

    policy: Literal["oldest", "uncertain", "diverse"] = Field(
        default="uncertain",
        description="Which review comes next; what is overdue comes first in any order.",
    )
    lease_minutes: Real = Field(
        default=5.0, ge=0.01, le=1440, description="How long a claimed review is one person's; a heartbeat renews it."
    )
    skip_minutes: Real = Field(
        default=10.0, ge=0, le=10_080, description="How long a skipped review is not offered to anybody."
    )
    ageing_minutes: Real = Field(
        default=480.0, gt=0, le=525_600, description="A review open for longer is overdue: status and metrics say so."
    )
    second_opinion_share: Real = Field(
        default=0.0, ge=0, le=1, description="Share of reviews that a second person decides, too, without knowing."
    )
    duplicate_distance: Real = Field(
        default=0.02, ge=0, le=2, description="Cosine distance up to which two parts are offered as one group."
    )


class Training(Section):
    """How models are retrained beside the line. When: `recipes.<name>.retrain`."""

    threads: Whole = Field(default=1, ge=1, le=1024, description="CPU threads of a training run.")
    idle_only: bool = Field(
        default=True,
        description="A run gets only the CPU time that nobody else wants (SCHED_IDLE, where Linux offers it); false: "
        "it is merely the last in line (nice 19).",
    )
    device: Device = Field(
        default="auto", description="Where images are looked at; auto takes a GPU when Ray grants one."
    )
    maximum_attempts: Whole = Field(
        default=3, ge=1, le=100, description="A run whose process died is resumed until it was begun this often."
    )
    feature_megabytes: Whole = Field(
        default=4096,
        ge=1,
        le=1_073_741_824,
        description="Disk for features of frames, so that refitting need not look at them again; the oldest go first.",
    )


class StageResources(Section):
    """What Ray reserves for each worker of a stage."""

    num_cpus: Real = Field(
        default=0.0, ge=0, le=1024, description="CPUs Ray reserves for each worker; 0 reserves none."
    )
    num_gpus: Real = Field(
        default=0.0, ge=0, le=64, description="GPUs Ray grants each worker; a share such as 0.5 is allowed."
    )
    resources: Resources = Field(
        default={}, description="Custom Ray resources each worker needs.", examples=[{"inference_pc": 1}]
    )


class Stages(Section):
    """What Ray reserves, stage by stage."""

    capture: StageResources = Field(default_factory=StageResources, description="Capture workers.")
    inference: StageResources = Field(default_factory=StageResources, description="Inference workers.")
    record: StageResources = Field(default_factory=StageResources, description="The recorder.")
    retrain: StageResources = Field(default_factory=StageResources, description="The retrain worker.")

    def __getitem__(self, stage: str) -> StageResources:
        if stage not in type(self).model_fields:
            raise KeyError(stage)
        resources: StageResources = getattr(self, stage)
        return resources


class Settings(Section):
    """Settings of adline, the visual inspection of a production line."""

    line: Line = Field(default_factory=Line, description="The production line.")
    server: Server = Field(default_factory=Server, description="Operator pages, API, health and metrics.")
    people: People = Field(default_factory=People, description="How people sign in.")
    database: Database = Field(default_factory=Database, description="Postgres: the truth.")
    stream: Stream = Field(default_factory=Stream, description="Redis or Valkey: the events.")
    ray: Ray = Field(default_factory=Ray, description="The actors that do the work.")
    images: Images = Field(default_factory=Images, description="How frames are kept.")
    capture: Capture = Field(default_factory=Capture, description="From the trigger to the stored frame.")
    inference: Inference = Field(default_factory=Inference, description="From the frame to the anomaly score.")
    record: Record = Field(default_factory=Record, description="From the verdict to Postgres.")
    labeling: Labeling = Field(default_factory=Labeling, description="The queue of parts that people decide.")
    training: Training = Field(default_factory=Training, description="How models are retrained beside the line.")
    drift: Drift = Field(default_factory=Drift, description="Whether frames and scores still are what they were.")
    stages: Stages = Field(default_factory=Stages, description="What Ray reserves, stage by stage.")
    stations: tuple[Station, ...] = Field(default=(), description="The stations of the line.")
    recipes: dict[Slug, Recipe] = Field(default={}, description="What stations do, by name.")

    @model_validator(mode="after")
    def agree(self) -> Self:
        check_agreement(self)
        return self

    @property
    def used_recipes(self) -> list[str]:
        """The recipes that stations run."""
        return sorted({station.recipe for station in self.stations})
