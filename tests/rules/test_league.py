"""The league of rules, on outcomes that are made up."""

from dataclasses import replace

import numpy as np
import pytest

from harness.core.strategy import Strategy
from harness.rules.arms import arms, probed_arms
from harness.rules.expectation import learn
from harness.rules.league import REFERENCE, Estimate, standings, trusted
from harness.rules.outcomes import Outcomes, Place, recorded
from harness.rules.profile import Probe, Probed
from harness.rules.rules import RULES, best_constant, highest

FROZEN = "feature_extraction at 64 px"
TUNED = "fine_tune_all at 64 px"


def made_up(n_sets: int = 8, *, tuned_pays_at: float = 0.6) -> Outcomes:
    """Outcomes of all arms: fine-tuning VGG16 at 64 px is best where probes are poor, else a frozen VGG16 at 64 px."""
    known, reached = [], []
    places = tuple(Place(f"set{i}", 100, 0) for i in range(n_sets))
    for i in range(n_sets):
        share = 0.3 + 0.6 * i / (n_sets - 1)
        probes = {arm.place(): Probe(share, share, share, share) for arm in probed_arms()}
        known.append(Probed(100, 5, 0.2, 100, 0.1 + 0.01 * i, probes))
        by_place = {arm.place(): share - 0.2 for arm in arms()}
        by_place[FROZEN], by_place[TUNED] = share, share + 0.5 * (tuned_pays_at - share)
        reached.append([by_place[arm.place()] for arm in arms()])
    flops = np.broadcast_to(np.arange(1.0, len(arms()) + 1) * 1e12, (n_sets, len(arms())))
    return Outcomes(places, tuple(known), tuple(arms()), np.array(reached), np.array(flops), (50,) * n_sets)


def named(name: str) -> Strategy:
    return next(arm for arm in arms() if arm.place() == name)


def test_arms_have_names_of_their_own() -> None:
    assert len({arm.place() for arm in arms()}) == len(arms()) == 32
    assert all(arm.frozen for arm in probed_arms())


def test_what_is_learned_beats_a_constant_where_the_probes_tell() -> None:
    outcomes = made_up()
    table = standings(outcomes)
    by_name = {standing.rule.name: standing for standing in table}
    assert by_name["learned"].behind.mean < by_name[REFERENCE].behind.mean
    assert [standing.behind.mean for standing in table] == sorted(standing.behind.mean for standing in table)
    assert trusted(table).rule.name in ("learned", "nearest sets")


def test_the_constant_is_followed_where_nothing_beats_it() -> None:
    outcomes = made_up(tuned_pays_at=0.0)  # the frozen network is always best
    table = standings(outcomes)
    assert trusted(table).rule.name == REFERENCE
    assert {standing.rule.name: standing for standing in table}[REFERENCE].behind == Estimate(0.0, 0.0, 0.0)


def test_a_rule_never_sees_the_set_it_chooses_for() -> None:
    outcomes = made_up(4)
    changed = outcomes.accuracy.copy()
    changed[2] = 0.1
    changed[2, 5] = 0.99  # only the third set likes this arm
    altered = replace(outcomes, accuracy=changed)
    before = {standing.rule.name: standing.chosen[2] for standing in standings(outcomes)}
    after = {standing.rule.name: standing.chosen[2] for standing in standings(altered)}
    assert before == after


def test_regret_and_excess_are_of_the_choice() -> None:
    outcomes = made_up(3)
    standing = next(one for one in standings(outcomes) if one.rule.name == TUNED)
    column = outcomes.arms.index(named(TUNED))
    regret = outcomes.accuracy.max(axis=1) - outcomes.accuracy[:, column]
    assert list(standing.regret.values()) == pytest.approx(regret.tolist())
    assert standing.tflop == pytest.approx(column + 1)
    ratios = []
    for row in range(3):
        as_good = outcomes.accuracy[row] >= outcomes.accuracy[row, column]
        ratios.append((column + 1) * 1e12 / outcomes.flops[row][as_good].min())
    assert standing.excess == pytest.approx(np.exp(np.mean(np.log(ratios))))


def test_all_sets_count_alike() -> None:
    one = made_up(2)
    twice = Outcomes(
        (*one.places, Place("set1", 200, 0)), (*one.probed, one.probed[1]), one.arms,
        np.vstack([one.accuracy, one.accuracy[1]]), np.vstack([one.flops, one.flops[1]]), (50, 50, 50),
    )  # fmt: skip
    assert best_constant(one.probed[0], one) == best_constant(one.probed[0], twice)
    assert twice.behind() == pytest.approx(one.behind())


def test_the_highest_score_decides_and_of_equals_the_cheapest() -> None:
    outcomes = made_up(2)
    probed = outcomes.probed[0]
    cheapest = next(arm for arm in arms() if arm.place() in probed.probes)
    assert highest("linear")(probed, outcomes) == cheapest
    best = probed_arms()[-1].place()
    better = replace(probed, probes={**probed.probes, best: Probe(0.1, 0.99, np.nan, 0.1)})
    assert highest("linear")(better, outcomes).place() == best
    assert highest("logme")(better, outcomes) == cheapest  # not a number is worse than all


def test_expectations_are_accuracies_within_their_interval() -> None:
    outcomes = made_up()
    for probed in (*outcomes.probed, replace(outcomes.probed[0], n_train=10**6, classes=2, distance=9.0)):
        expected = learn(outcomes).expect(probed)
        assert (expected.low >= 0).all() and (expected.low <= expected.accuracy).all()
        assert (expected.accuracy <= expected.high).all() and (expected.high <= 1).all()


def test_what_is_beyond_the_recorded_sets_counts_as_their_edge() -> None:
    outcomes = made_up()
    far = [replace(outcomes.probed[-1], n_train=n) for n in (10**6, 10**7)]
    near, further = (learn(outcomes).expect(probed).accuracy for probed in far)
    assert near.tolist() == further.tolist()


def test_a_rule_whose_arm_is_not_recorded_is_left_out() -> None:
    outcomes = made_up(3)
    kept = [i for i, arm in enumerate(outcomes.arms) if arm.kind != "two_phase"]
    fewer = replace(
        outcomes, arms=tuple(outcomes.arms[i] for i in kept), accuracy=outcomes.accuracy[:, kept],
        flops=outcomes.flops[:, kept],
    )  # fmt: skip
    names = {standing.rule.name for standing in standings(fewer)}
    assert not any(name.startswith("head first") for name in names)
    assert {rule.name for rule in RULES} - names == {rule.name for rule in RULES if "head first" in rule.name}


def test_the_recorded_outcomes_are_whole() -> None:
    outcomes = recorded()
    assert len(outcomes.datasets) >= 17
    assert {place.dataset for place in outcomes.places if place.n_train == 100} == set(outcomes.datasets)
    assert outcomes.accuracy.shape == outcomes.flops.shape == (len(outcomes.places), len(outcomes.arms))
    assert set(outcomes.complete.datasets) == set(outcomes.datasets)
    accuracy, flops = outcomes.complete.accuracy, outcomes.complete.flops
    assert ((accuracy >= 0) & (accuracy <= 1)).all() and (flops > 0).all()
    assert (np.isnan(outcomes.accuracy) == np.isnan(outcomes.flops)).all()
    assert all(set(probed.probes) == {arm.place() for arm in probed_arms()} for probed in outcomes.probed)
