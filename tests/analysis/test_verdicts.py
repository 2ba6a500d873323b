"""Verdicts on the four scenarios from invented rows with known answers."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dashboards.figures.atlas import atlas_figure, elsewhere, ways_to_choose_k
from harness.analysis.atlas_summary import overall, verdict_in_words
from harness.analysis.verdicts import Correlation, Found, choices, places, verdicts
from harness.core.spec import AdviceSpec
from harness.core.strategy import ARTICLE_KINDS, Kind
from harness.guidance.advice import SCENARIOS
from tests.helpers.synthetic import HOSTILE

BOUNDARIES = AdviceSpec(large_at=500, similar_below=0.15)


def rows(
    dataset: str, size: int, distance: float, reached: dict[Kind, float], seeds: int = 3, noise: float = 0.001
) -> Iterator[Found]:
    for seed in range(seeds):
        for i, (kind, accuracy) in enumerate(reached.items()):
            noisy = accuracy + noise * ((seed + i) % 3 - 1)
            k = {"feature_extraction": 13, "freeze_first_k": 7}.get(kind, 0)
            yield Found(dataset, size, seed, distance, 0.01, kind, k, 1e-3, noisy, 1e12 * (14 - k), 5, 200)


def reached(best: Kind, by: float = 0.05) -> dict[Kind, float]:
    return {kind: 0.8 + by * (kind == best) for kind in ARTICLE_KINDS}


@pytest.mark.parametrize(("quarter", "advised"), SCENARIOS.items())
def test_the_table_holds_if_its_strategy_wins_and_not_if_it_loses(
    quarter: tuple[bool, bool], advised: tuple[int, Kind]
) -> None:
    large, similar = quarter
    scenario, kind = advised
    where = (1000 if large else 100, 0.07 if similar else 0.3)
    verdict = verdicts(places([*rows("a", *where, reached(kind))], BOUNDARIES))[scenario - 1]
    assert (verdict.scenario, verdict.advised, verdict.word) == (scenario, kind, "holds")
    assert verdict.lead is not None and verdict.lead.mean == pytest.approx(0.05, abs=0.002) and verdict.lead.n == 3
    other = next(other for other in ARTICLE_KINDS if other != kind)
    beaten = places([*rows("a", *where, reached(other))], BOUNDARIES)
    assert verdicts(beaten)[scenario - 1].word == "does not hold"
    assert not beaten[0].right and beaten[0].winner.kind == other
    rest = [verdict.word for verdict in verdicts(beaten) if verdict.scenario != scenario]
    assert rest == ["undecided"] * 3


def test_one_seed_or_more_noise_than_lead_is_undecided() -> None:
    one = places([*rows("a", 100, 0.07, reached("feature_extraction"), seeds=1)], BOUNDARIES)
    noisy = places([*rows("a", 100, 0.07, reached("feature_extraction", 0.01), noise=0.05)], BOUNDARIES)
    assert verdicts(one)[0].word == verdicts(noisy)[0].word == "undecided"
    assert "one seed, so no interval" in verdict_in_words(verdicts(one)[0])


def test_boundaries_move_places_between_scenarios() -> None:
    found = [*rows("a", 100, 0.07, reached("feature_extraction")), *rows("a", 1000, 0.07, reached("fine_tune_all"))]
    assert [place.scenario for place in places(found, BOUNDARIES)] == [1, 4]
    assert [place.scenario for place in places(found, AdviceSpec(large_at=10_000))] == [1, 1]
    assert [place.scenario for place in places(found, AdviceSpec(large_at=500, similar_below=0.05))] == [2, 3]
    assert [row[0] for row in elsewhere(found, AdviceSpec()).rows] == ["1,000", "100,000"]


def test_of_two_configurations_the_best_over_the_seeds_counts() -> None:
    found = list(rows("a", 100, 0.3, reached("freeze_first_k"), noise=0))
    lucky = [replace(f, k=10, accuracy=1.0 if f.seed == 0 else 0.5) for f in found if f.kind == "freeze_first_k"]
    (place,) = places([*found, *lucky], BOUNDARIES)
    assert (place.winner.kind, place.winner.k, place.winner.accuracy) == ("freeze_first_k", 7, pytest.approx(0.85))


def test_a_place_without_the_advised_strategy_is_ignored() -> None:
    assert places([*rows("a", 100, 0.07, {"fine_tune_all": 0.9, "from_scratch": 0.5})], BOUNDARIES) == ()


def test_compute_is_a_multiple_of_that_of_the_advised_strategy() -> None:
    (place,) = places([*rows("a", 100, 0.3, {"freeze_first_k": 0.9, "fine_tune_all": 0.8})], BOUNDARIES)
    assert place.compute == pytest.approx(2)


def test_rank_correlations() -> None:
    assert Correlation.of([1, 2, 3, 4], [10, 20, 30, 40]) == Correlation(pytest.approx(1), pytest.approx(1), 4)
    assert Correlation.of([1, 2, 3, 4], [1, 3, 2, 4]).kendall == pytest.approx(2 / 3)
    assert math.isnan(Correlation.of([1, 1], [2, 3]).spearman)


def test_ways_to_choose_k_are_compared_by_regret() -> None:
    found = []
    for seed in range(3):
        for k, accuracy, logme, h_score in ((7, 0.9, 0.5, 1.0), (10, 0.8, 0.1, 2.0), (13, 0.7, -0.3, 3.0)):
            kind: Kind = "feature_extraction" if k == 13 else "freeze_first_k"
            found.append(Found("a", 100, seed, 0.3, 0.01, kind, k, 1e-3, accuracy, 1e12, 5, 200, logme, h_score))
    results = {choice.name: (choice.hits, choice.cells, choice.regret.mean) for choice in choices(found)}
    assert results["the k of the highest LogME"] == (3, 3, 0)
    assert results["the k of the highest H-score"] == (0, 3, pytest.approx(0.2))
    assert results["always k = 10"] == (0, 3, pytest.approx(0.1))
    assert "20.0 points" in ways_to_choose_k(found).rows[1][2]


def test_names_from_data_are_escaped_in_the_map() -> None:
    placed = places([*rows(HOSTILE, 100, 0.07, reached("feature_extraction"))], BOUNDARIES)
    figure = atlas_figure(placed, BOUNDARIES)
    shown = "".join(text for trace in figure.data for text in (*(trace.hovertext or ()), *(trace.text or ())))
    assert "<img" not in shown and "&lt;img" in shown
    assert "holds in scenario 1; the others are undecided" in overall([*rows(HOSTILE, 100, 0.07, {})], placed)
