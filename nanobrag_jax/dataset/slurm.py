"""Shards as tasks of a Slurm job array, by submitit."""

import os
import pickle
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..numerics.precision import precision_context
from .make import begin, missing
from .recipe import Recipe
from .shards import make_shard

LOGS = ".slurm"
_ROUNDS = 3
"""How often shards are submitted again whose tasks have died."""
_POLL_S = 2.0
_SILENT_POLLS = 300
"""How often squeue may fail before the work is taken to have ended."""


class ShardTask:
    """What a task of the array does. It may be ended and started again at any moment: a shard appears whole or not."""

    def __call__(self, recipe: Recipe, folder: str, shards: Sequence[int]) -> int:
        with precision_context(recipe.precision):
            return sum(make_shard(recipe, Path(folder), shard).images for shard in shards)

    def checkpoint(self, recipe: Recipe, folder: str, shards: Sequence[int]):
        """Asked to make room for others: the same again, later."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, recipe, folder, shards)


def options_of(text: str) -> dict[str, str | int]:
    """Options of submitit and sbatch from "partition=gpu,time=60,tasks=8". **Raises** `InputError`."""
    found: dict[str, str | int] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise InputError(f"-slurm must be options as in partition=gpu,time=60,tasks=8, got {word!r}")
        found[name] = int(value) if value.isdecimal() and value.isascii() else value
    return found


def make_on_slurm(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    options: Mapping[str, str | int],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Make what is missing of a data set by tasks of a job array, and wait for them.

    **Arguments:**

    - `folder`: where all nodes find it;
    - `options`: `tasks`: how many tasks the shards are shared out to (default: one for each shard, at most 1000);
      others are sbatch's, `time` in minutes;
    - `say`: told what happens.

    Tasks that die (killed, a failed node) are submitted again, three times at most. **Raises** `InputError` where
    submitit or Slurm is missing, and for shards that cannot be made.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError
    except ImportError:
        raise InputError("-slurm needs submitit: pip install nanobrag_jax[cluster]") from None
    folder = Path(folder).absolute()
    begin(recipe, folder)
    own = dict(options)
    tasks = int(own.pop("tasks", 1000))
    try:
        executor = submitit.SlurmExecutor(folder / LOGS)
        executor.update_parameters(**{"job_name": "nanobrag_dataset", "time": 60, "setup": None} | own)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"-slurm: {error}") from None
    last = ""
    for turn in range(_ROUNDS + 1):
        left = missing(recipe, folder)
        if not left:
            return
        if turn:
            say(f"{len(left)} shards are still missing ({last}): submitted again")
        groups = [left[i :: min(tasks, len(left))] for i in range(min(tasks, len(left)))]
        try:
            count = len(groups)
            jobs = executor.map_array(ShardTask(), [recipe] * count, [str(folder)] * count, groups)
        except (RuntimeError, OSError, FailedJobError) as error:
            raise InputError(f"-slurm: sbatch failed: {error}") from None
        say(f"job {jobs[0].job_id.partition('_')[0]}: {len(left)} shards in {len(groups)} tasks")
        last = _waited(jobs)
    left = missing(recipe, folder)
    if left:
        raise InputError(f"{len(left)} shards could not be made; the last said: {last}")


def _waited(jobs: Sequence) -> str:
    """Wait for all tasks of an array; what the first that failed said.

    By the queue and by the files of results: accounting, which submitit asks, is off on many clusters.
    """
    array = jobs[0].job_id.partition("_")[0]
    silent = 0
    while silent < _SILENT_POLLS:
        queue = subprocess.run(["squeue", "-h", "-j", array, "-o", "%T"], capture_output=True, text=True)
        if queue.returncode == 0 and not queue.stdout.strip():
            break
        unknown = "Invalid job id" in queue.stderr  # ended, and forgotten
        if unknown:
            break
        silent = 0 if queue.returncode == 0 else silent + 1
        time.sleep(_POLL_S)
    for job in jobs:
        result = Path(job.paths.result_pickle)
        if not result.exists():
            return f"task {job.job_id} ended without a word"
        outcome, said = pickle.loads(result.read_bytes())
        if outcome == "error":
            return str(said).strip().splitlines()[-1]
    return "no task failed"
