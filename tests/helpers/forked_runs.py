"""`harness run` on the tiny network, in processes that are forked from one that has imported everything.

    python -m tests.helpers.forked_runs

reads one run from each line of standard input, in JSON: its folder, its environment, the trial to pause in and the
arguments. With "twice" for the trial two equal commands run at the same time, with the stubs of `tests.faults.stub`. It
prints the run's process id, and its exit code when it has ended. The run writes to stdout.txt and stderr.txt in its
folder. `tests.conftest.Runs` talks to it.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Literal

from harness.core.framework import loading

with loading():  # all that `harness run` imports
    import dashboards.optuna
    import dashboards.page
    import dashboards.terminal  # noqa: F401
    import harness.workers.session  # noqa: F401
    from harness import run
    from harness.backbones import weights
    from harness.core.results import TrialResult
    from harness.strategy_search import worker
    from harness.training.problem import Problem
    from tests.helpers.tiny import tiny_problem, tiny_weights


def fork(folder: str, environment: Mapping[str, str], trial: int | Literal["twice"], arguments: Sequence[str]) -> None:
    """Run the command in a fork, and wait for its end."""
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        for descriptor, name in ((1, "stdout.txt"), (2, "stderr.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        if trial == "twice":
            from tests.faults import stub  # which puts its stubs in place

            sys.exit(stub.run_twice(list(arguments)))
        pause_in(trial)
        sys.exit(run.main(arguments))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def pause_in(trial: int) -> None:
    """Stop for good at the first checkpoint of that trial, counted from 0 in this process."""
    train, numbers = worker.run_trial, count()

    def run_trial(*given: Any, on_checkpoint: Any, **more: Any) -> TrialResult:
        pauses = next(numbers) == trial

        def checkpoint(curve: Any) -> Any:
            verdict = on_checkpoint(curve)
            if pauses:
                time.sleep(600)
            return verdict

        return train(*given, on_checkpoint=checkpoint, **more)

    worker.run_trial = run_trial  # type: ignore[assignment]


# Here, so that the processes that a run starts have it too.
if "tensorflow" in sys.modules:  # see tests.conftest
    sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
weights.load_weights = lambda *_: tiny_weights()
Problem.of = lambda _, spec, split, __, cache: tiny_problem(spec, split, cache)  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    for line in sys.stdin:
        fork(*json.loads(line))
