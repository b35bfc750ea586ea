"""What the settings want Ray to reserve, against what its machines have: what can never be had is told before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.settings import Settings, StageResources

Machine = Mapping[str, float]
"""A machine's resources as Ray counts them, by name: CPU, GPU, and custom ones."""


@dataclass(frozen=True)
class Want:
    """One setting, and for how many workers it counts."""

    setting: str
    resource: str
    each: float
    workers: int = 1
    stage: str = "capture"

    def __str__(self) -> str:
        return f"{self.setting} is {self.each:g}" + (f" for each of {self.workers} workers" if self.workers > 1 else "")


def wants(settings: Settings) -> list[Want]:
    """Everything that is reserved; what is 0 is not."""
    workers = {"capture": len(settings.stations), "inference": settings.inference.replicas, "record": 1, "retrain": 1}
    found = [want for stage, count in workers.items() for want in of_stage(stage, settings.stages[stage], count)]
    found += [
        Want(f"stations[{station.name}].resources.{name}", name, each)
        for station in settings.stations
        for name, each in station.resources.items()
    ]
    return [want for want in found if want.each and want.workers]


def of_stage(stage: str, reserved: StageResources, workers: int) -> Iterator[Want]:
    yield Want(f"stages.{stage}.num_cpus", "CPU", reserved.num_cpus, workers, stage)
    yield Want(f"stages.{stage}.num_gpus", "GPU", reserved.num_gpus, workers, stage)
    for name, each in reserved.resources.items():
        yield Want(f"stages.{stage}.resources.{name}", name, each, workers, stage)


def unmet(wanted: Sequence[Want], machines: Sequence[Machine]) -> list[str]:
    """Each setting that can never be had, with what was given and what there is; empty when all can."""
    problems = []
    for resource in dict.fromkeys(want.resource for want in wanted):
        ours = [want for want in wanted if want.resource == resource]
        most = max((machine.get(resource, 0.0) for machine in machines), default=0.0)
        there = sum(machine.get(resource, 0.0) for machine in machines)
        where = "Ray's machine has" if len(machines) == 1 else f"none of Ray's {len(machines)} machines has more than"
        too_large = [want for want in ours if want.each > most]
        problems += [f"{want}, and {where} {most:g} {resource}" for want in too_large]
        if not too_large and sum(want.each * want.workers for want in ours) > there:
            problems.append(f"{'; '.join(map(str, ours))}: more than the {there:g} {resource} there are in all")
    return problems
