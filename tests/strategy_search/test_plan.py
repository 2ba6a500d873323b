"""Which trials a study plans, in which order."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from harness.core.backbone import BackboneSpec
from harness.core.results import TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import ARTICLE_KINDS, Kind
from harness.guidance.advice import ADVISED, advised
from harness.storage.store import Store
from harness.storage.tickets import Counts
from harness.storage.trials import TrialStart
from harness.strategy_search.plan import plan, planned_depths
from harness.strategy_search.space import as_params
from tests.conftest import ROOT
from tests.helpers.searching import ADVICE, session, trials


def origins(store: Store) -> list[str]:
    return [trial.origin for trial in store.tickets.planned("tiny")]


def fixed(store: Store) -> list[dict[str, Any]]:
    """The parameters that the plan fixes, by trial."""
    return [trial.params for trial in store.tickets.planned("tiny")]


def test_the_plan_is_advice_recipes_quota_sampler(store: Store, spec: StudySpec) -> None:
    plan(store, trials(spec, 50), ADVICE)
    assert origins(store)[:3] == ["advice", "recipe_extractor", "recipe_partial"]

    planned = Counter(params.get("strategy") for params in fixed(store))
    assert {kind: planned[kind] for kind in ARTICLE_KINDS} == dict.fromkeys(ARTICLE_KINDS, 5)
    assert planned[None] == 30
    assert store.tickets.counts("tiny") == Counts(planned=50, finished=0, held=0)


def test_a_study_lists_its_recipes(store: Store, spec: StudySpec) -> None:
    search = spec.search.model_copy(update={"recipes": ("recipe_partial",)})
    plan(store, trials(spec, 20).model_copy(update={"search": search}), ADVICE)
    assert origins(store)[:2] == ["advice", "recipe_partial"] and "recipe_extractor" not in origins(store)


def test_the_quota_is_cheapest_first_with_spread_depths_and_the_advised_strategies(
    store: Store, spec: StudySpec
) -> None:
    plan(store, trials(spec, 50), ADVICE)
    quota = fixed(store)[3:20]
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
    plan(store, spec, ADVICE)
    planned = fixed(store)
    found = list(planned_depths(store, spec))
    assert len(found) == sum(map(bool, planned)) < 40
    assert {(name, size, k) for name, k in zip(backbones, (13, 9), strict=True) for size in sizes} < set(found)
    assert found[0] == ("vgg16", 32, 7), "the advice"
    small = found.index(("efficientnet_lite0", 32, 9))
    after = [("efficientnet_lite0", 64, 9), ("vgg16", 32, 13), ("vgg16", 64, 13)]
    assert found[small + 1 : small + 4] == after, "the cheapest first: not by size"
    mine = session(store, spec)
    assert store.tickets.claim("tiny", mine, 1) is not None
    store.trials.begin(
        "tiny", 0, TrialStart(ADVICE.strategy, "advice", 1, 1.0, params=as_params(ADVICE.strategy, spec)), session=mine
    )
    assert list(planned_depths(store, spec)) == found
    store.trials.end("tiny", 0, TrialResult("failed", 1.0, 1.0), session=mine)
    assert list(planned_depths(store, spec)) == found[1:]


def test_what_was_best_on_other_sets_is_planned_once_where_the_study_searches_it(
    store: Store, study_file: Path
) -> None:
    changes = {"search.image_size": [32, 64], "search.backbones": ["vgg16", "efficientnet_lite0"], "budget.trials": 40}
    spec = StudySpec.load(str(study_file), changes)[0]
    frozen = ADVISED["feature_extraction"].on(BackboneSpec.load("efficientnet_lite0"), 64)
    plan(store, spec, ADVICE, constant=frozen)
    assert origins(store).count("league") == 1
    assert fixed(store)[origins(store).index("league")] == as_params(frozen, spec)
    assert fixed(store).count(as_params(frozen, spec)) == 1


@pytest.mark.parametrize(("size", "planned"), [(32, 1), (64, 0)])
def test_what_was_best_need_not_be_a_frozen_network(store: Store, spec: StudySpec, size: int, planned: int) -> None:
    trained = replace(ADVISED["fine_tune_all"], image_size=size)
    plan(store, trials(spec, 20), ADVICE, constant=trained)
    assert origins(store).count("league") == planned


def test_a_continued_plan_repeats_no_advised_strategy(store: Store, spec: StudySpec) -> None:
    for n in (10, 50):
        plan(store, trials(spec, n), ADVICE)
    planned = fixed(store)
    assert planned.count(as_params(advised(spec.search, 32)["fine_tune_all"], spec)) == 1


def test_an_advised_strategy_outside_the_space_leaves_its_place_to_the_sampler(store: Store, spec: StudySpec) -> None:
    search = spec.search.model_copy(update={"optimizer": ("sgd",)})
    plan(store, trials(spec, 50, search=search), ADVICE)
    planned = fixed(store)
    assert planned.count({"strategy": "fine_tune_all"}) == 5


def test_planning_again_adds_only_missing_trials(store: Store, spec: StudySpec) -> None:
    for n, expected in [(8, 8), (8, 8), (5, 8), (20, 20)]:
        plan(store, trials(spec, n), ADVICE)
        assert store.tickets.counts("tiny").planned == expected
    planned = Counter(params.get("strategy") for params in fixed(store))
    assert min(planned[kind] for kind in ARTICLE_KINDS) >= 2  # a tenth of 20
    assert origins(store).count("advice") == 1


def test_few_trials_still_begin_with_the_advice(store: Store, spec: StudySpec) -> None:
    plan(store, trials(spec, 2), ADVICE)
    assert origins(store) == ["advice", "recipe_extractor"]
    plan(store, trials(spec, 8), ADVICE)
    assert origins(store)[:4] == ["advice", "recipe_extractor", "recipe_partial", "quota"]


def test_a_recipe_outside_the_space_is_left_out_with_a_warning(
    store: Store, spec: StudySpec, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = trials(spec, 6, search=spec.search.model_copy(update={"head_width": (4, 512), "optimizer": ("adam",)}))
    plan(store, narrow, ADVICE)
    assert origins(store)[:2] == ["advice", "quota"]
    assert "recipe_extractor is not tried: the study's search space leaves out width_1 1000" in caplog.text
    assert "recipe_partial is not tried" in caplog.text and "optimizer sgd" in caplog.text


_PLAN = """
import sys
from harness.strategy_search.plan import plan
from harness.core.spec import StudySpec
from harness.storage.store import Store
from tests.helpers.searching import ADVICE
store, spec = Store(sys.argv[1]), StudySpec.load(sys.argv[2])[0]
plan(store, spec, ADVICE)
"""


@pytest.mark.large
def test_two_runs_that_plan_concurrently_plan_once(store: Store, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PLAN, store.url, str(tmp_path / "tiny.toml")]
    runs = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert store.tickets.counts("tiny").planned == 8
