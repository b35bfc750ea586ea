"""The program that works on one training run and ends: begins it, or resumes what a killed one left.

Its plan is the first line of standard input. Exit codes: 0 there is nothing more to do now; 3 somebody else trains.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from storage import training_runs
from storage.database import Database
from storage.errors import AdlineError, DatabaseUnavailable, DiskFull, TrainingCancelled, TrainingRefused
from storage.training_models import RunState, TrainingRun
from workers.retrain.plan import TrainerPlan
from workers.retrain.process import end_with_parent, step_back
from workers.retrain.run import Run

logger = logging.getLogger(__name__)

OTHERS_TRAIN = 3


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    plan = TrainerPlan.from_json(sys.stdin.readline())
    end_with_parent(sys.stdin)
    step_back(plan.idle_only)
    database = Database(plan.database_url, pool_size=4)
    with database.engine.connect() as connected:
        connected = connected.execution_options(isolation_level="AUTOCOMMIT")
        if not training_runs.try_lock(connected):
            return OTHERS_TRAIN
        work(plan, database, lambda: training_runs.holds_lock(connected))
    return 0


def work(plan: TrainerPlan, database: Database, still_mine: Callable[[], bool]) -> None:
    """Bring one run to its end. What may be better later is left for a next attempt, anything else fails the run."""
    with database.begin() as session:
        row = training_runs.work(session, plan.maximum_attempts)
    if row is None:
        return
    logger.info("run %s of recipe %s, attempt %d", row.id, row.recipe, row.attempt)
    run = Run(plan, database, row, still_mine)
    try:
        run.execute()
    except TrainingCancelled:
        finish(database, row, RunState.CANCELLED)
    except TrainingRefused as error:
        with database.begin() as session:
            training_runs.end(session, row.id, RunState.DONE, sentence=f"refused: {error}")
    except DatabaseUnavailable as error:
        logger.error("the run waits for its next attempt: %s", error)
        raise
    except DiskFull as error:
        with database.begin() as session:
            training_runs.again(session, row.id, str(error))
        raise
    except AdlineError as error:
        finish(database, row, RunState.FAILED, str(error))
    except Exception as error:
        logger.exception("the run's attempt %d failed", row.attempt)
        if row.attempt < plan.maximum_attempts:
            with database.begin() as session:
                training_runs.again(session, row.id, words(error))
            raise
        finish(database, row, RunState.FAILED, f"{words(error)}, in each of {row.attempt} attempts")
    run.checkpoint.forget()


def finish(database: Database, row: TrainingRun, state: RunState, error: str | None = None) -> None:
    logger.log(logging.INFO if error is None else logging.ERROR, "run %s: %s: %s", row.id, state, error or "-")
    with database.begin() as session:
        training_runs.end(session, row.id, state, error=error)


def words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
