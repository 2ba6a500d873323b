"""Measure how well the seconds of a trial are predicted, by the number of trials seen before it.

    python -m benchmarks.prediction --study NAME --storage URL

Nothing is run. The trials of a recorded study are predicted in their order, each only from those before it, as a worker
did. A trial that was stopped early is predicted for the epochs that it ran. Prints the relative errors and their median
over the trials that had at least so many before them. The committed result is of the study `mnist` as `make run`
searched it, in bfloat16 on 2 cores while other work ran. The weights in `harness.strategy_search.runtime` were chosen
on two smaller searches in float32. Writes the figures to benchmarks/results/prediction.json, with the machines that the
study names.
"""

import argparse
from statistics import median

from benchmarks.record import machine, write
from harness.backbones.described import architecture_of
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.storage.store import Store
from harness.strategy_search.runtime import Forecast
from harness.training.counts import Setting

AFTER = (0, 1, 2, 3, 5, 8, 12)


def main() -> None:
    """Read the study, predict its trials and write the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, metavar="NAME")
    parser.add_argument("--storage", required=True, metavar="URL")
    arguments = parser.parse_args()
    store = Store(arguments.storage, must_exist=True)
    study = store.studies.find(arguments.study)
    assert study is not None, f"no study {arguments.study!r}"
    spec = StudySpec.model_validate(study.spec)
    setting = Setting.of(spec, study.data, architecture_of(spec.search.backbones[0]))
    trials, baselines = (
        store.trials.frame(study.name).to_dict("records"),
        store.baselines.frame(study.name).to_dict("records"),
    )
    errors: list[tuple[int, float]] = []
    for seen, trial in enumerate(trials):
        forecast = Forecast.fit(setting, trials[:seen], baselines)
        if forecast is None or trial["status"] not in ("complete", "pruned"):
            continue
        predicted = forecast.seconds(Strategy.from_row(trial), int(trial["epochs"]))
        error = abs(predicted - trial["seconds_total"]) / trial["seconds_total"]
        errors.append((seen, error))
        print(f"trial {trial['number']:3d}  {predicted:7.1f} s predicted {trial['seconds_total']:7.1f} s  {error:6.1%}")
    by_seen = {}
    for after in AFTER:
        later = [error for seen, error in errors if seen >= after]
        if later:
            by_seen[after] = {"n": len(later), "median": median(later)}
            print(f"after {after:2d} trials: median error {median(later):.1%} of {len(later)} trials")
    devices = sorted({trial["device"] for trial in trials})
    write("prediction", {
        "machine": machine(), "devices": devices, "epochs": spec.budget.epochs, "n_train": study.data["n_train"],
        "image_size": spec.search.image_size[0], "trials": len(trials), "median_error_by_trials_seen": by_seen,
    })  # fmt: skip


if __name__ == "__main__":
    main()
