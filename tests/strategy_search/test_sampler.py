"""Drawing trials: which of the others the sampler is shown, and the seeds."""

import math
from itertools import chain

import pytest

from harness.core.errors import SpecError
from harness.core.results import TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.statistics.pareto import fronts
from harness.storage.store import Store
from harness.storage.trials import TrialStart
from harness.strategy_search.history import History, Past
from harness.strategy_search.plan import plan
from harness.strategy_search.sampler import Sampler, choose, trial_seed
from harness.strategy_search.space import from_params
from tests.helpers.searching import ADVICE, session, trials

STRATEGY = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-3, image_size=32)


def past(number: int, status: str = "complete", score: float = 0.5, cost: float = 1e9) -> Past:
    return Past(number, STRATEGY, status, "cpu", score, cost, {})  # type: ignore[arg-type]


def test_different_trials_have_different_seeds() -> None:
    assert len({trial_seed(base, number) for base in range(5) for number in range(200)}) == 1000


def test_the_sampler_is_shown_all_trials_that_did_not_fail_up_to_a_number() -> None:
    few = [past(number, ("complete", "pruned", "diverged")[number % 3]) for number in reversed(range(30))]
    failed = [past(1000, "failed"), past(1001, "out_of_memory")]
    assert [shown.number for shown in choose([*few, *failed], 0, 30)] == list(range(30))


def test_of_many_trials_a_sample_of_the_best_tenth_and_of_the_others_is_shown() -> None:
    many = [
        past(n, "complete" if n % 4 else "pruned", 0.5 + (n * 37 % 1000) / 2500, 1e9 + 1e6 * n) for n in range(1000)
    ]
    shown = [trial.number for trial in choose(many, seed=0, most=300)]
    assert len(shown) == len(set(shown)) == 300 and shown == sorted(shown)
    complete = [trial for trial in many if trial.status == "complete"]
    each = fronts([t.cost for t in complete], [t.score or 0 for t in complete])
    ranked = [[complete[place].number for place in on] for on in each]
    whole = next(n for n in range(len(ranked)) if sum(map(len, ranked[: n + 1])) > 100)
    good = set(shown).intersection(chain.from_iterable(ranked[:whole]))
    assert len(good) + len(set(shown).intersection(ranked[whole])) >= 30 >= len(good) > 15
    assert len(set(shown).intersection(chain.from_iterable(ranked[whole + 1 :]))) > 150
    assert 100 < sum(number >= 500 for number in shown) < 200, "neither the latest nor the first"
    assert shown == [trial.number for trial in choose(many[::-1], seed=0, most=300)]
    assert shown != [trial.number for trial in choose(many, seed=1, most=300)], "the rest is drawn"
    assert len(choose([past(n, "pruned", math.nan) for n in range(300)], 0, 100)) == 100
    assert len(choose([past(n, cost=math.nan) for n in range(300)], 0, 100)) == 100
    equal = choose([past(n) for n in range(300)], 0, 100)
    assert len(equal) == 100 and sum(trial.number < 30 for trial in equal) == 10, "of equal trials the first are best"


class TestDraw:
    """A drawn trial, after others that finished and some that run."""

    @pytest.fixture
    def history(self, store: Store, spec: StudySpec) -> History:
        spec = trials(spec, 20)
        plan(store, spec, ADVICE)
        mine = session(store, spec)
        history, sampler = History(store, spec), Sampler(spec)
        for number in range(16):
            ticket = store.tickets.claim("tiny", session(store, spec) if number > 13 else mine, 20)
            assert ticket is not None and ticket.number == number
            strategy, params, notes = sampler.draw(number, ticket.planned.params, history)
            assert from_params(params, spec) == strategy and ticket.planned.params.items() <= params.items()
            holder = mine if number <= 13 else int(store.sessions.frame("tiny")["id"].max())
            start = TrialStart(strategy, ticket.planned.origin, 1, 1.0, params=params, sampler_notes=notes)
            store.trials.begin("tiny", number, start, session=holder)
            if number <= 13:
                result = TrialResult("complete", 1e9 * (number % 5 + 1), 1e9, 0.5 + number / 100)
                store.trials.end("tiny", number, result, session=mine)
            history.read()
        return history

    def test_the_same_history_gives_the_same_point(self, history: History, store: Store, spec: StudySpec) -> None:
        drawn = Sampler(spec).draw(17, {}, history)
        assert drawn == Sampler(spec).draw(17, {}, History(store, spec))
        assert drawn != Sampler(spec).draw(18, {}, history)

    def test_trials_that_others_run_are_seen(self, history: History, spec: StudySpec) -> None:
        assert set(history.running) == {14, 15} and set(history.finished) == set(range(14))
        drawn = Sampler(spec).draw(17, {}, history)
        history.running.clear()
        assert drawn[:2] != Sampler(spec).draw(17, {}, history)[:2]

    @pytest.mark.parametrize("name", ["NSGAIISampler", "NSGAIIISampler", "RandomSampler"])
    def test_a_study_may_name_another_sampler(self, history: History, spec: StudySpec, name: str) -> None:
        search = spec.search.model_copy(update={"sampler": f"optuna.samplers.{name}"})
        other = spec.model_copy(update={"search": search})
        strategy, params, _ = Sampler(other).draw(17, {"strategy": "fine_tune_all"}, history)
        assert strategy.kind == "fine_tune_all" and from_params(params, spec) == strategy
        assert params != Sampler(spec).draw(17, {"strategy": "fine_tune_all"}, history)[1]


def test_an_unknown_sampler_is_said_with_those_there_are() -> None:
    with pytest.raises(SpecError, match=r"search\.sampler.*optuna\.samplers\.TPESampler"):
        StudySpec.load("mnist", {"search.sampler": "optuna.samplers.CmaEsSampler"})
