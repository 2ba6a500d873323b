"""Which trials a study plans, in which order."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import cast

import optuna
import pytest
from optuna.trial import TrialState

from harness.core.spec import StudySpec
from harness.core.strategy import ARTICLE_KINDS, Kind
from harness.guidance.advice import advised
from harness.search.optuna_study import open_study
from harness.search.plan import plan, planned_depths
from harness.search.space import as_params
from harness.storage.store import Store
from tests.conftest import ROOT
from tests.helpers.searching import ADVICE, trials


def origins(study: optuna.Study) -> list[str]:
    return [trial.user_attrs["origin"] for trial in study.get_trials()]


def test_the_plan_is_advice_recipes_quota_sampler(store: Store, spec: StudySpec) -> None:
    study = open_study(store, spec.name)
    plan(study, store, trials(spec, 50), ADVICE)
    assert origins(study)[:3] == ["advice", "recipe_extractor", "recipe_partial"]
    planned = Counter(trial.system_attrs["fixed_params"].get("strategy") for trial in study.get_trials())
    assert {kind: planned[kind] for kind in ARTICLE_KINDS} == dict.fromkeys(ARTICLE_KINDS, 5)
    assert planned[None] == 30
    assert {trial.state for trial in study.get_trials()} == {TrialState.WAITING}


def test_the_quota_is_cheapest_first_with_spread_depths_and_the_advised_strategies(
    store: Store, spec: StudySpec
) -> None:
    study = open_study(store, spec.name)
    plan(study, store, trials(spec, 50), ADVICE)
    quota = [trial.system_attrs["fixed_params"] for trial in study.get_trials()[3:20]]
    assert [params["strategy"] for params in quota] == [
        *["feature_extraction"] * 4, *["freeze_first_k"] * 3, *["fine_tune_all", "from_scratch"] * 5,
    ]  # fmt: skip
    assert [params["frozen"] for params in quota[4:7]] == [10, 6, 3]
    for params, kind in [(quota[7], "fine_tune_all"), (quota[8], "from_scratch")]:
        assert params == as_params(advised(spec.search, 32)[cast(Kind, kind)], spec)
    assert all(set(params) == {"strategy"} for params in quota[9:])


def test_the_depths_of_trials_that_have_not_finished_are_known(store: Store, study_file: Path) -> None:
    backbones, sizes = ["vgg16", "efficientnet_lite0"], [32, 64]
    changes = {"search.image_size": sizes, "search.backbones": backbones, "budget.trials": 40}
    spec = StudySpec.load(str(study_file), changes)[0]
    study = open_study(store, spec.name)
    plan(study, store, spec, ADVICE)
    planned = [trial.system_attrs["fixed_params"] for trial in study.get_trials()]
    found = list(planned_depths(study, spec))
    assert len(found) == sum(map(bool, planned)) < 40
    assert {(name, size, k) for name, k in zip(backbones, (13, 9), strict=True) for size in sizes} < set(found)
    assert found[0] == ("vgg16", 32, 7), "the advice"
    study.ask()
    study.tell(0, state=TrialState.FAIL)
    assert list(planned_depths(open_study(store, spec.name), spec)) == found[1:]


def test_a_continued_plan_repeats_no_advised_strategy(store: Store, spec: StudySpec) -> None:
    study = open_study(store, spec.name)
    for n in (10, 50):
        plan(study, store, trials(spec, n), ADVICE)
    planned = [trial.system_attrs["fixed_params"] for trial in study.get_trials()]
    assert planned.count(as_params(advised(spec.search, 32)["fine_tune_all"], spec)) == 1


def test_an_advised_strategy_outside_the_space_leaves_its_place_to_the_sampler(store: Store, spec: StudySpec) -> None:
    search = spec.search.model_copy(update={"optimizer": ("sgd",)})
    study = open_study(store, spec.name)
    plan(study, store, trials(spec, 50, search=search), ADVICE)
    planned = [trial.system_attrs["fixed_params"] for trial in study.get_trials()]
    assert planned.count({"strategy": "fine_tune_all"}) == 5


def test_planning_again_adds_only_missing_trials(store: Store, spec: StudySpec) -> None:
    study = open_study(store, spec.name)
    for n, expected in [(8, 8), (8, 8), (5, 8), (20, 20)]:
        plan(study, store, trials(spec, n), ADVICE)
        assert len(study.get_trials()) == expected
    planned = Counter(trial.system_attrs["fixed_params"].get("strategy") for trial in study.get_trials())
    assert min(planned[kind] for kind in ARTICLE_KINDS) >= 2  # a tenth of 20
    assert origins(study).count("advice") == 1


def test_few_trials_still_begin_with_the_advice(store: Store, spec: StudySpec) -> None:
    study = open_study(store, spec.name)
    plan(study, store, trials(spec, 2), ADVICE)
    assert origins(study) == ["advice", "recipe_extractor"]
    plan(study, store, trials(spec, 8), ADVICE)
    assert origins(study)[:4] == ["advice", "recipe_extractor", "recipe_partial", "quota"]


def test_a_recipe_outside_the_space_is_left_out_with_a_warning(
    store: Store, spec: StudySpec, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = trials(spec, 6, search=spec.search.model_copy(update={"head_width": (4, 512), "optimizer": ("adam",)}))
    study = open_study(store, spec.name)
    plan(study, store, narrow, ADVICE)
    assert origins(study)[:2] == ["advice", "quota"]
    assert "recipe_extractor is not tried: the study's search space leaves out width_1 1000" in caplog.text
    assert "recipe_partial is not tried" in caplog.text and "optimizer sgd" in caplog.text


_PLAN = """
import sys
from harness.search.optuna_study import open_study
from harness.search.plan import plan
from harness.core.spec import StudySpec
from harness.storage.store import Store
from tests.helpers.searching import ADVICE
store, spec = Store(sys.argv[1]), StudySpec.load(sys.argv[2])[0]
plan(open_study(store, "tiny"), store, spec, ADVICE)
"""


@pytest.mark.large
def test_two_runs_that_plan_concurrently_plan_once(store: Store, tmp_path: Path) -> None:
    open_study(store, "tiny")
    command = [sys.executable, "-c", _PLAN, store.url, str(tmp_path / "tiny.toml")]
    runs = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert len(open_study(store, "tiny").get_trials()) == 8
