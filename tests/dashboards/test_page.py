"""The dashboards without a browser: what figures say, what the page and the note hold, how the command answers."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import optuna_dashboard
import pandas as pd
import pytest
import sqlalchemy as sa
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

import dashboards.live
import dashboards.optuna
from dashboards.figures import draw
from dashboards.figures.compare import compare_drawing
from dashboards.figures.costs import KINDS_OF_SECONDS, cost_info, time_info
from dashboards.figures.curves import curves_figure, curves_info
from dashboards.figures.depth import depth_figure, depth_info
from dashboards.figures.front import front_figure, front_info
from dashboards.figures.parallel import parallel_info
from dashboards.figures.points import UNITS, Unit, thinned
from dashboards.figures.scenarios import map_figure, map_info
from dashboards.page import render, write_page
from dashboards.table import trials_table
from dashboards.theme import COLOURS, DARK
from harness import dashboard
from harness.analysis import formatting
from harness.analysis.importance import CHANCE, importance_info
from harness.analysis.recommendation import recommend
from harness.analysis.recommended_study import recommended_study
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.analysis.verdicts import Correlation, Found
from harness.core.errors import SpecError, StorageError
from harness.core.paths import page_path
from harness.core.results import Checkpoint, TrialResult
from harness.core.strategy import KINDS, Strategy
from harness.statistics.similarity import Similarity
from harness.storage.store import Store
from harness.storage.tables import trial_summary
from tests.helpers.synthetic import HOSTILE, add_trials, confirm_study, write_study
from tests.helpers.whole import copy_is_whole


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('dashboards') / 'harness.db'}")
    write_study(store, "mnist", 50)
    write_study(store, "one", 1)
    write_study(store, "none", 0, baselines=False)
    write_study(store, "all failed", 4, only="failed")
    write_study(store, "all over budget", 3, only="over_budget")
    write_study(store, HOSTILE, 30)
    return store


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('confirmed') / 'harness.db'}")
    write_study(store, "mnist", 50)
    confirm_study(store, "mnist")
    return Rows.read(store, "mnist")


@pytest.fixture(scope="module")
def rows(store: Store) -> Rows:
    return Rows.read(store, "mnist")


@pytest.fixture(scope="module")
def rendered(rows: Rows) -> str:
    return render([rows])


@pytest.fixture(scope="module")
def attached(store: Store) -> optuna.Study:
    """The study of a hostile name, with its figures and its note."""
    dashboards.optuna.attach(store, HOSTILE)
    return optuna.load_study(study_name=HOSTILE, storage=store.optuna_storage())


class Parsed(HTMLParser):
    """The page's tags, its scripts, and its text outside them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts = "", []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data


@pytest.mark.parametrize("unit", UNITS)
def test_front_holds_exactly_the_checkpoints_that_nothing_beats(rows: Rows, unit: Unit) -> None:
    info = front_info(rows, unit)
    places = {(p.cost(unit), p.score) for p in info.points}
    alone = {
        (cost, accuracy)
        for cost, accuracy in places
        if not any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in places)
    }
    assert {(p.cost(unit), p.score) for p in info.front} == alone
    assert [p.cost(unit) for p in info.front] == sorted(p.cost(unit) for p in info.front)


def test_every_checkpoint_is_a_point_with_the_stored_numbers(store: Store, rows: Rows) -> None:
    with store.engine.connect() as connection:
        stored = connection.execute(
            sa.text(
                "select number, epoch, train_flops, train_seconds, val_accuracy from harness_checkpoint "
                "where study = 'mnist'"
            )
        ).all()
    points = front_info(rows).points
    assert {(p.trial.number, p.epoch, p.flops, p.seconds, p.score) for p in points} == {tuple(r) for r in stored}


def test_a_running_trial_is_left_out(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "running", 2)
    session = int(store.trials.frame("running")["session"].iloc[0])
    strategy = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-4, image_size=32)
    result = TrialResult("complete", 1e12, 2e12, curve=(Checkpoint(1, 1e12, 1.0, 0.1, 0.1, 0.999),))
    add_trials(store, "running", session, [(2, strategy, "quota", result)])
    with store.engine.begin() as connection:
        connection.execute(sa.text("update harness_trial set status = null, finished_at = null where number = 2"))
    assert store.trials.checkpoints("running")["number"].max() == 2
    rows = Rows.read(store, "running")
    assert {point.trial.number for point in front_info(rows).points} == {0, 1}
    assert "2 trials ended" in " ".join(summarise(rows).sentences)


def test_front_figure_draws_accuracy_on_the_axis_it_labels(rows: Rows) -> None:
    info = front_info(rows)
    figure = front_figure(info, 2000)
    axis = figure.layout.yaxis
    assert axis.type == "log"
    assert [1 - float(label) for label in axis.ticktext] == pytest.approx(list(axis.tickvals))
    front = next(trace for trace in figure.data if trace.name == "front")
    assert front.line.shape == "hv"
    assert [1 - y for y in front.y[:-1]] == pytest.approx([p.score for p in info.front], abs=1e-5)
    low, high = (10**end for end in axis.range[::-1])
    assert all(low <= y <= high * 1.00001 for trace in figure.data for y in trace.y)


def test_advice_and_both_recipes_are_marked_and_baselines_begin_at_their_cost(rows: Rows) -> None:
    info = front_info(rows)
    assert [(origin, point.trial.number) for origin, point in info.marks] == [
        ("advice", 0), ("recipe_extractor", 1), ("recipe_partial", 2),
    ]  # fmt: skip
    names = [trace.name for trace in front_figure(info, 2000).data]
    assert {"advice", "recipe: extractor", "recipe: partial", "baselines"} <= set(names)
    cnn = next(trace for trace in front_figure(info, 2000).data if trace.text and "cnn" in trace.text)
    assert cnn.x[0] == 5.0


def test_each_strategy_has_one_colour_in_every_figure(rows: Rows) -> None:
    for drawing in draw(rows, 2000):
        for trace in drawing.views["TFLOP"].figure.data:
            if trace.name in KINDS:
                assert trace.legendgroup == trace.name
                assert trace.marker.color == COLOURS[trace.name] or trace.line.color == COLOURS[trace.name]


def test_stopped_trials_say_why_on_hover(rows: Rows) -> None:
    info = curves_info(rows)
    assert {p.trial.status for p in info.stopped} == {"pruned", "diverged"}
    crossed = [trace for trace in curves_figure(info, 200).data if trace.name == "ended early"]
    assert any("pruned: at 3.1 TFLOP" in text for trace in crossed for text in trace.hovertext)
    assert sum(trace.showlegend for trace in crossed) == 1


def test_hover_text_is_escaped_for_plotly(store: Store) -> None:
    hovers = [p.hover for p in curves_info(Rows.read(store, HOSTILE)).stopped]
    assert any("&lt;img src=x" in hover for hover in hovers)
    assert not any("<img" in hover for hover in hovers)


def test_depth_takes_the_best_pretrained_trial_of_each_k_and_never_one_from_scratch(rows: Rows) -> None:
    scratch = rows.trials.loc[rows.trials["strategy"] == "from_scratch", "number"]
    checkpoints = rows.checkpoints.copy()
    checkpoints.loc[checkpoints["number"].isin(scratch), "val_accuracy"] = 0.999
    best = {point.trial.k: point.score for point in depth_info(replace(rows, checkpoints=checkpoints)).best}
    complete = rows.trials[(rows.trials["status"] == "complete") & (rows.trials["strategy"] != "from_scratch")]
    assert best == complete.groupby("frozen")["val_accuracy"].max().to_dict()


def test_seconds_add_up_to_what_was_recorded(store: Store, rows: Rows) -> None:
    info = time_info(rows)
    total = rows.trials["seconds_total"].sum() + rows.baselines["seconds_total"].sum()
    assert sum(map(sum, info.spent.values())) + sum(info.saved_by_cache) == pytest.approx(total)
    assert sum(info.saved_by_cache) > 0
    with store.engine.connect() as connection:
        saved = connection.execute(
            sa.text(
                "select sum(saved_flops) from trial_summary "
                "where study = 'mnist' "
                "and status in ('pruned', 'over_budget')"
            )
        ).scalar_one()
    assert info.saved_flops == pytest.approx(saved)
    assert "stopping early saved" in info.headline


def test_summary_names_the_best_trial_and_sets_it_against_advice_and_baseline(store: Store, rows: Rows) -> None:
    with store.engine.connect() as connection:
        number, accuracy = connection.execute(
            sa.text(
                "select number, val_accuracy from trial_summary where study = 'mnist' and val_accuracy is not null "
                "order by val_accuracy desc, train_flops limit 1"
            )
        ).one()
    text = "\n".join(summarise(rows).sentences)
    assert f"(trial {number}): validation accuracy {accuracy:.4f} for" in text
    advice = rows.trial_of("advice")
    assert advice is not None
    regret = accuracy - advice["val_accuracy"]
    assert f"the search found {formatting.points(regret)} more" in text
    interval = re.search(r"more \(95 %: ([+-][\d.]+) to ([+-][\d.]+)\)", text)
    assert interval and float(interval[1]) < 100 * regret < float(interval[2])
    assert f"{formatting.points(accuracy - 0.958)} above the best baseline, cnn (0.9580 for 5.00 TFLOP)" in text
    assert text.count("test") == 0


def test_summary_says_how_what_was_best_on_other_sets_did(rows: Rows) -> None:
    best = rows.best()
    assert best is not None
    trials = rows.trials.copy()
    told = "What was best on other data sets (harness advise: "
    assert told not in "".join(summarise(rows).sentences)
    trials.loc[trials["number"] == best["number"], "origin"] = "league"
    (sentence,) = (text for text in summarise(replace(rows, trials=trials)).sentences if told in text)
    assert sentence == f"{told}{Strategy.from_row(best).place()}) did best: no trial of the search beat it."
    trials["origin"] = rows.trials["origin"].where(rows.trials["number"] != 0, "league")
    behind = formatting.points(best["val_accuracy"] - trials.loc[trials["number"] == 0, "val_accuracy"].item())
    (sentence,) = (text for text in summarise(replace(rows, trials=trials)).sentences if told in text)
    assert f": the search found {behind} more" in sentence


def test_a_cheaper_trial_is_named_when_it_is_nearly_as_good(rows: Rows) -> None:
    trials = rows.trials[rows.trials["number"].isin([0, 1])].copy()
    trials["val_accuracy"], trials["train_flops"] = [0.97, 0.965], [10e12, 2e12]
    near = replace(rows, trials=trials)
    assert any("(trial 1) reached 0.9650 for 2.00 TFLOP, 20 % of the compute" in s for s in summarise(near).sentences)
    trials["val_accuracy"] = [0.97, 0.95]
    assert not any("Nearly as good" in s for s in summarise(near).sentences)


def test_a_study_judged_by_another_score_shows_that_one_everywhere(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "rare", 30, metric="macro_f1")
    rows = Rows.read(store, "rare")
    best = rows.best()
    assert best is not None and best["val_macro_f1"] == rows.trials["val_macro_f1"].max()
    assert best["val_accuracy"] < rows.trials["val_accuracy"].max()
    info = front_info(rows)
    assert max(point.score for point in info.front) == rows.checkpoints["val_macro_f1"].max()
    assert front_figure(info, 2000).layout.yaxis.title.text == "validation macro F1"
    text = Parsed(render([rows])).text
    assert f"validation macro F1 {best['val_macro_f1']:.4f} for" in text
    assert "95 %" not in text, "that interval is one of accuracies"
    assert not any("95 %" in hover for point in info.points for hover in [point.hover])
    write_study(store, "usual", 10)
    compared = compare_drawing([rows, Rows.read(store, "usual")]).views["TFLOP"]
    assert [row[4] for row in compared.numbers.rows] == ["macro F1", "accuracy"]
    baseline = rows.best_baseline()
    assert baseline is not None and formatting.accuracy(baseline["val_macro_f1"]) in compared.numbers.rows[0][-1]
    assert compared.figure.layout.yaxis.title.text == "each study's own validation score"
    titles = {column["name"]: column["title"] for column in trials_table([rows])["columns"]}
    assert titles["val_macro_f1"] == "validation macro F1" and titles["val_balanced_accuracy"] == ""


@pytest.mark.parametrize(
    ("study", "says"),
    [
        ("none", "No trial has ended."),
        ("all failed", "Most frequent reason: its process died 3 times"),
        ("all over budget", "3 trials ended (3 over budget)"),
        ("one", "did best: no trial of the search beat it"),
    ],
)
def test_studies_with_little_to_show_say_so(store: Store, study: str, says: str) -> None:
    page = Parsed(render([Rows.read(store, study)]))
    assert says in page.text
    assert ("No trial has reached a checkpoint." in page.text) == (study != "one")
    assert not re.search(r"\bnan\b|None", page.text)


@pytest.mark.parametrize("study", ["mnist", HOSTILE])
def test_page_loads_nothing_and_runs_only_its_own_scripts(store: Store, rendered: str, study: str) -> None:
    text = rendered if study == "mnist" else render([Rows.read(store, study)])
    page = Parsed(text)
    assert study in page.text
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "base", "form")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "src"]
    assert {attributes["href"] for _, attributes in page.tags if "href" in attributes} == {"data:,", "#trials-title"}
    assert all(attributes.get("nonce") for tag, attributes in page.tags if tag == "script")
    assert text.count("plotly.js v") == 1


def test_ten_numbers_of_the_page_equal_sql(store: Store, rendered: str) -> None:
    columns = ["number", "val_accuracy", "train_flops", "saved_flops", "seconds_total"]
    with store.engine.connect() as connection:
        stored = connection.execute(
            sa.text(
                f"select {', '.join(columns)} from trial_summary where study = 'mnist' and val_accuracy is not null "
                "order by val_accuracy desc limit 10"
            )
        ).all()
    scripts = [json.loads(script) for script in Parsed(rendered).scripts if script.startswith('{"columns"')]
    held = scripts[0]["rows"]
    assert len(held["number"]) == 50
    for row in stored:
        assert [held[name][held["number"].index(row[0])] for name in columns] == list(row)


def test_seconds_are_the_clock_of_features_and_training(rows: Rows) -> None:
    info = front_info(rows, "seconds")
    cnn = next(line for line in info.baselines if line.name == "cnn")
    stored = rows.baselines[rows.baselines["name"] == "cnn"].iloc[0]
    assert cnn.cost == stored["seconds_features"] + stored["seconds_train"]
    assert front_figure(info, 2000).layout.xaxis.title.text.startswith("seconds")


def test_thinning_keeps_the_front_whole_and_the_order(rows: Rows) -> None:
    info = front_info(rows)
    few = thinned(info.points, 30, info.front)
    assert len(few) == 30
    assert set(map(id, info.front)) <= set(map(id, few))
    assert few == sorted(few, key=info.points.index)
    assert thinned(info.points, 1, info.front) == [p for p in info.points if p in info.front]
    assert thinned(info.points, 10_000) == list(info.points)
    figure = front_figure(info, 30)
    drawn = sum(len(trace.x) for trace in figure.data if trace.name in KINDS)
    assert drawn == 30
    line = next(trace for trace in figure.data if trace.name == "front")
    assert len(line.x) == len(info.front) + 1


def test_the_map_has_the_study_on_its_declared_side_of_a_boundary_from_its_spec(rows: Rows) -> None:
    info = map_info(rows)
    boundary = rows.spec["advice"]["similar_below"]
    assert (info.here.low, info.here.high) == (boundary, 2 * boundary)
    assert boundary < info.here.distance < 2 * boundary
    assert info.boundaries.large_at == rows.spec["advice"]["large_at"]
    assert [place.outcome.study for place in info.others] == [other.study for other in rows.others]
    figure = map_figure(info, 10)
    assert any(shape.x0 == shape.x1 == info.boundaries.large_at for shape in figure.layout.shapes)
    shown = "".join(text for trace in figure.data for text in (*(trace.hovertext or ()), *(trace.text or ())))
    assert "<img" not in shown
    assert "&lt;img" in shown
    best, advised = rows.best(), rows.trial_of("advice")
    assert best is not None and advised is not None
    assert formatting.points(best["val_accuracy"] - advised["val_accuracy"]) in info.headline


def test_a_measured_study_stands_at_its_distance_and_an_atlas_around_it(rows: Rows) -> None:
    measured = Similarity(distance=0.07, error=0.01, n_images=200, cubic=0.5, frechet=3e4, earth_mover=200.0)
    cells = [
        Found(HOSTILE, size, seed, 0.07, 0.01, kind, 13, 1e-2, accuracy, 1e12, 3, 200)
        for size in (100, 300)
        for seed in range(3)
        for kind, accuracy in (("feature_extraction", 0.8), ("fine_tune_all", 0.9))
    ]
    outcome = replace(rows.outcome, similarity=measured, similar=True)
    info = map_info(replace(rows, outcome=outcome, atlas=tuple(cells)))
    assert (info.here.distance, info.here.low, info.here.high) == (0.07, *measured.interval)
    assert [(place.size, place.right) for place in info.atlas] == [(100, False), (300, False)]
    assert "at 0 of 2 places" in info.headline
    figure = map_figure(info, 10)
    assert "<img" not in "".join(text for trace in figure.data for text in trace.hovertext or ())


def test_layer_scores_stand_below_with_their_rank_correlation(rows: Rows) -> None:
    scores = [{"k": k, "logme": float(k), "h_score": 1.0, "n_images": 500} for k in range(1, 14)]
    info = depth_info(replace(rows, data=rows.data | {"layer_scores": scores}))
    by_k = {point.trial.k: point.score for point in info.best if point.trial.k > 0}
    expected = Correlation.of(list(by_k), list(by_k.values()))
    assert info.layers[0].agreement == expected and expected.n == len(by_k)
    assert f"LogME ranks them with rho = {expected.spearman:.2f}" in info.headline
    assert "H-score ranks" not in info.headline  # it is the same everywhere: there is no rank
    panels = [trace.yaxis for trace in depth_figure(info, 100).data if trace.name in ("LogME", "H-score")]
    assert panels == ["y3", "y3"]
    assert not depth_info(rows).layers


def test_spread_at_k_is_that_of_its_complete_trials(rows: Rows) -> None:
    trials = rows.trials[(rows.trials["status"] == "complete") & (rows.trials["strategy"] != "from_scratch")]
    for spread in depth_info(rows).spread:
        accuracies = trials.loc[trials["frozen"] == spread.k, "val_accuracy"]
        assert spread.n == len(accuracies)
        assert spread.score == pytest.approx(accuracies.quantile([0.25, 0.5, 0.75]).tolist())


def test_predicted_and_actual_cost_are_the_stored_ones(store: Store, rows: Rows) -> None:
    info = cost_info(rows)
    with store.engine.connect() as connection:
        planned, spent = connection.execute(
            sa.text(
                "select sum(planned_flops) / 1e12, sum(train_flops) / 1e12 from trial_summary "
                "where study = 'mnist' and train_flops > 0"
            )
        ).one()
    assert sum(s.predicted for s in info.spendings) == pytest.approx(planned)
    assert sum(s.actual for s in info.spendings) == pytest.approx(spent)
    seconds = cost_info(rows, "seconds")
    begun = rows.trials[(rows.trials["epochs"] > 0) & rows.trials["predicted_seconds"].notna()]
    assert sum(s.actual for s in seconds.spendings) == pytest.approx(begun["seconds_total"].sum())
    expected = (begun["predicted_seconds"] * begun["epochs"] / 5).sum()
    assert sum(s.predicted for s in seconds.spendings) == pytest.approx(expected)
    assert "median error" in seconds.headline and "after the first five" in seconds.headline
    unknown = replace(rows, trials=rows.trials.assign(predicted_seconds=np.nan))
    assert cost_info(unknown, "seconds").headline == "The seconds of no trial were predicted."


def test_importance_finds_what_decides_and_nothing_where_nothing_does(rows: Rows) -> None:
    draw_ = random.Random(1)
    trials = pd.concat([rows.trials] * 2, ignore_index=True).assign(status="complete")
    trials["learning_rate"] = [10 ** draw_.uniform(-5, -2) for _ in range(len(trials))]
    noise = [draw_.gauss(0, 0.01) for _ in range(len(trials))]
    decided = trials.assign(val_accuracy=0.9 + 0.02 * np.log10(trials["learning_rate"]) + noise)
    info = importance_info(replace(rows, trials=decided))
    assert [i.name for i in info.importances if i.above_chance] == ["learning rate"]
    assert info.importances[0].name == "learning rate"
    assert CHANCE in {i.name for i in info.importances}
    blind = importance_info(replace(rows, trials=trials.assign(val_accuracy=np.array(noise) + 0.9)))
    assert not any(i.above_chance for i in blind.importances)
    assert blind.headline.startswith("Nothing is above chance")
    few = importance_info(replace(rows, trials=decided.head(10)))
    assert few.importances == ()
    assert few.headline.startswith("10 complete trials")


def test_parallel_coordinates_place_each_trial_between_the_ticks_of_its_values(rows: Rows) -> None:
    info = parallel_info(rows)
    assert len(info.lines) == rows.trials["val_accuracy"].notna().sum()
    by_number = rows.trials.set_index("number")
    names = [name for name, _ in info.scales]
    at_k = names.index("k, frozen stages")
    depths = sorted((by_number.loc[line.number, "frozen"], line.places[at_k]) for line in info.lines)
    assert [place for _, place in depths] == sorted(place for _, place in depths)
    for line in info.lines:
        assert all(-1e-9 <= place <= 1 + 1e-9 for place in line.places)


def test_the_table_holds_every_column_of_trial_summary(store: Store, rows: Rows) -> None:
    table = trials_table([rows, Rows.read(store, HOSTILE)])
    with store.engine.connect() as connection:
        query = sa.text("select count(*) from trial_summary where study in ('mnist', :h)")
        count = connection.scalar(query, {"h": HOSTILE})
    assert {column["name"] for column in table["columns"]} == set(trial_summary.columns.keys())
    assert {len(held["at"] if isinstance(held, dict) else held) for held in table["rows"].values()} == {count}
    assert table["rows"]["study"]["words"] == ["mnist", HOSTILE]
    assert next(column for column in table["columns"] if column["name"] == "study")["title"] == "study"
    assert [name for name, _ in table["best"]] == ["mnist", HOSTILE]


def test_a_baseline_that_no_trial_beats_is_what_to_use(rows: Rows) -> None:
    better = rows.baselines.assign(
        val_accuracy=rows.baselines["val_accuracy"].where(rows.baselines["name"] != "cnn", 1)
    )
    first = summarise(replace(rows, baselines=better)).sentences[0]
    assert first.startswith("Use the baseline cnn, which no trial beats. The best trial is ")


def test_compared_studies_share_a_page_and_no_element_id(store: Store) -> None:
    text = render([Rows.read(store, name) for name in ("mnist", HOSTILE, "none")])
    page = Parsed(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"comparison", "frozen-layers", "frozen-layers-2", "frozen-layers-3"} <= set(ids)
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "3 studies compared" in page.text


@pytest.mark.large
def test_ten_thousand_trials_keep_the_page_and_optunas_rows_small(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "many", 10_000)
    rows = Rows.read(store, "many")
    assert len(front_info(rows).points) > 30_000
    figures = [view.figure for drawing in draw(rows, 2000) for view in drawing.views.values() if view.figure]
    assert max(sum(len(trace.x or ()) for trace in figure.data) for figure in figures) < 6000
    dashboards.optuna.attach(store, "many")
    study = optuna.load_study(study_name="many", storage=store.optuna_storage())
    kept = get_plotly_graph_objects(dict(study._storage.get_study_system_attrs(study._study_id)))
    assert len(kept) == 8
    assert sum(map(len, kept.values())) < 600_000


def ask(app: dashboards.live.Live, path: str, query: str = "", host: str = "127.0.0.1:8080") -> tuple[str, str]:
    """The status and the body of an answer."""
    statuses: list[str] = []
    environ = {
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_HOST": host,
        "REQUEST_METHOD": "GET",
        "SERVER_PORT": "80",
    }
    body = b"".join(app(environ, lambda status, headers: statuses.append(status)))
    return statuses[0], body.decode()


def test_the_live_page_has_news_only_where_results_came_in(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "running", 2)
    app = dashboards.live.Live(store, ["running"])
    status, page = ask(app, "/")
    version = re.search(r'data-version="(\w+)"', page)
    assert status == "200 OK" and version is not None
    assert "connect-src 'self'" in page
    assert ask(app, "/content", f"since={version[1]}") == ("204 No Content", "")
    strategy = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-4, image_size=32)
    session = int(store.trials.frame("running")["session"].iloc[0])
    result = TrialResult("complete", 1e12, 1e12, val_accuracy=0.99, curve=(Checkpoint(1, 1e12, 1.0, 0.1, 0.1, 0.99),))
    add_trials(store, "running", session, [(2, strategy, "quota", result)])
    status, content = ask(app, "/content", f"since={version[1]}")
    assert status == "200 OK"
    assert "3 trials ended" in content
    assert "plotly.js v" not in content and "<style>" not in content
    study = optuna.load_study(study_name="running", storage=store.optuna_storage())
    assert "3 trials ended" in optuna_dashboard.get_note(study)


def test_the_server_answers_to_this_machine_only(store: Store) -> None:
    app = dashboards.live.Live(store, ["none"])
    for host in ("evil.example", "evil.example:8080", "", "127.0.0.1.evil.example"):
        for path in ("/", "/content", "/api/studies"):
            status, text = ask(app, path, host=host)
            assert status == "403 Forbidden" and "ssh -L 80:127.0.0.1:80 USER@SERVER" in text and "evil" not in text
    assert ask(app, "/", host="localhost:8080")[0] == "200 OK"


def test_a_static_page_may_not_connect_anywhere(rendered: str) -> None:
    assert "connect-src 'none'" in rendered


def test_without_chromium_images_are_refused_with_the_remedy(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    page = tmp_path / "page.html"
    arguments = ["--storage", store.url, "--study", "none", "--out", str(page)]
    for flag in ("--png", "--pdf"):
        assert dashboard.main([*arguments, flag, str(tmp_path / "out")]) == 2
        assert "apt-get install chromium" in capsys.readouterr().err
    assert page.is_file()
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_every_colour_that_a_dark_page_must_change_has_a_dark_one(rows: Rows) -> None:
    used = set(
        re.findall(r"#[0-9a-f]{6}\b", "".join(drawing.views["TFLOP"].figure.to_json() for drawing in draw(rows, 2000)))
    )
    assert used <= DARK.keys() | set(KINDS_OF_SECONDS.values())


def test_page_is_replaced_whole_and_an_unwritable_one_is_a_clear_error(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "new folder" / "page.html"
    write_page(store, "none", page)
    assert "No trial has ended." in Parsed(page.read_text(encoding="utf-8")).text
    write_page(store, "one", page)
    assert "No trial has ended." not in Parsed(page.read_text(encoding="utf-8")).text
    assert [file.name for file in page.parent.iterdir()] == ["page.html"]
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(StorageError, match=r"taken.*cannot be written"):
        write_page(store, "none", taken)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new folder", "taken"]


@pytest.mark.large
def test_attaching_twice_leaves_the_same_rows_in_optuna(store: Store, attached: optuna.Study) -> None:
    def attributes() -> dict[str, object]:
        return dict(attached._storage.get_study_system_attrs(attached._study_id))

    once = attributes()
    dashboards.optuna.attach(store, HOSTILE)
    assert attributes() == once
    figures = get_plotly_graph_objects(once)
    drawn = {drawing.id for drawing in draw(Rows.read(store, HOSTILE), 300) if drawing.views["TFLOP"].figure}
    assert figures.keys() == drawn
    assert all(json.loads(figure)["data"] for figure in figures.values())
    assert sum(map(len, figures.values())) < 200_000


def test_note_shows_names_as_they_are(attached: optuna.Study) -> None:
    note = optuna_dashboard.get_note(attached)
    assert note.startswith("## &lt;img src=x onerror=alert\\(1\\)&gt;\n")
    assert "<" not in note
    assert "freeze\\_first\\_k" in note


def test_attaching_a_study_that_optuna_lacks_is_a_clear_error(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "half", 1)
    optuna.delete_study(study_name="half", storage=store.optuna_storage())
    with pytest.raises(StorageError, match="no study 'half'"):
        dashboards.optuna.attach(store, "half")


def test_a_taken_port_is_a_clear_error(store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SpecError, match=r"port \d+ of 127\.0\.0\.1 cannot be used.*--port"):
            dashboards.live.serve(store, ["none"], taken.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--study", "mnits"], "there is no study 'mnits' in this database: did you mean 'mnist'?"),
        (["--study", "mnist", "--storage", "sqlite:///missing.db"], "there is no database 'missing.db'"),
        (["--study", "mnist", "--storage", "nonsense"], "does not parse: give sqlite:///"),
        (["--study", "none", "--out", "."], "the page '.' cannot be written"),
        (["--study", "mnist", "--study", "one", "--study", "mnist"], "names a study twice"),
    ],
)
def test_user_errors_exit_with_2_and_one_line(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dashboard.main(["--storage", store.url, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error
    assert list(tmp_path.iterdir()) == []


def test_command_writes_the_page_and_serves_until_interrupted(store: Store, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness.dashboard", "--study", "one", "--storage", store.url]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    with subprocess.Popen(
        [*command, "--serve", "--port", "0"], stdout=subprocess.PIPE, cwd=tmp_path, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "page: results/one.html\n"
            found = re.search(r"live page: (http://127\.0\.0\.1:\d+/)", process.stdout.readline())
            assert found is not None
            address = found[1]
            with urllib.request.urlopen(address, timeout=120) as answer:
                assert "Frozen layers" in answer.read().decode()
            with urllib.request.urlopen(f"{address}api/studies", timeout=120) as answer:
                assert "one" in {study["study_name"] for study in json.load(answer)["study_summaries"]}
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert (tmp_path / "results" / "one.html").stat().st_size > 1_000_000
    copy_is_whole(Path(store.engine.url.database or ""), "one", trial=1)


def test_a_termination_ends_the_server_as_well(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = dashboards.live.server

    def server(*given: Any) -> Any:
        running = make(*given)

        def terminate() -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{running.server_port}/", timeout=120):
                os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=terminate).start()
        return running

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dashboards.live, "server", server)
    assert dashboard.main(["--study", "none", "--storage", store.url, "--serve", "--port", "0"]) == 0


def test_no_study_name_leads_out_of_the_folder_or_shares_a_page() -> None:
    names = ["mnist", "MNIST", "../../etc/passwd", HOSTILE, "数字", "", ".", "a/b", "a b", "x" * 200, "x" * 199]
    pages = [page_path(name) for name in names]
    assert pages[0] == Path("results/mnist.html")
    assert len({str(page).lower() for page in pages}) == len(names)
    for page in pages:
        assert page.parent == Path("results")
        assert re.fullmatch(r"[a-z0-9._-]{1,80}", page.name)
        assert not page.name.startswith(".")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1234.5, "1,234"),
        (123.4, "123"),
        (12.34, "12.3"),
        (0.0123, "0.0123"),
        (9.999, "10.0"),
        (float("nan"), "–"),
    ],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert formatting.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.0 s"), (99.96, "1 min 40 s"), (200, "3 min 20 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_seconds_grow_into_minutes_and_hours(value: float, shown: str) -> None:
    assert formatting.seconds(value) == shown


def test_what_was_confirmed_is_told_with_intervals_and_drawn(confirmed: Rows, rows: Rows, rendered: str) -> None:
    advised = recommend(confirmed)
    assert advised is not None and recommend(rows) is None
    found = advised.confirmed
    pick = confirmed.best()
    assert pick is not None and found.pick.candidate.trial == pick["number"] and found.pick.test is not None
    measured = confirmed.confirmations[confirmed.confirmations["candidate"] == found.pick.candidate.name]
    assert found.pick.test.mean == pytest.approx(measured["test_accuracy"].mean())
    optimism = found.optimism()
    assert optimism is not None and optimism[0] == pytest.approx(pick["val_accuracy"] - found.pick.test.mean)
    strategies = [c for c in found.candidates if c.candidate.strategy is not None]
    assert found.n_compared == 2 * len(strategies) - 1  # with the best baseline all, with the advice all but itself
    text = Parsed(render([confirmed])).text
    assert f"{found.pick.test.mean:.4f} (95 % {found.pick.test.low:.3f} to" in text
    assert "has been opened once" in text and "is sealed" not in text
    assert "is sealed" in Parsed(rendered).text
    crosses = next(t for t in front_figure(front_info(confirmed), 2000).data if t.name == "confirmed: test accuracy")
    assert [1 - y for y in crosses.y] == pytest.approx([c.test.mean for c in strategies if c.test], abs=1e-5)
    lowest = [1 - y - more for y, more in zip(crosses.y, crosses.error_y.array, strict=True)]
    assert lowest == pytest.approx([c.test.low for c in strategies if c.test], abs=1e-5)


def test_the_advice_is_told_as_it_was_tried(rows: Rows) -> None:
    tried = rows.trials[rows.trials["origin"] == "advice"].index
    trials = rows.trials.copy()
    trials.loc[tried, "label"] = "freeze_first_k k=7 at 96 px"
    text = " ".join(summarise(replace(rows, trials=trials)).sentences)
    assert f"The advice (scenario {rows.advice['scenario']}: freeze_first_k k=7 at 96 px) " in text


def test_a_pick_that_is_no_better_than_a_baseline_is_said_to_be(confirmed: Rows) -> None:
    worse = confirmed.confirmations.copy()
    best = confirmed.best_baseline()
    pick = confirmed.candidates[0].name
    assert best is not None
    hits = worse.loc[worse["candidate"] == best["name"], "correct"].tolist()
    for row, packed in zip(worse.index[worse["candidate"] == pick], hits, strict=True):
        worse.loc[row, "correct"] = packed
    advised = recommend(replace(confirmed, confirmations=worse))
    assert advised is not None and not advised.better_than_baseline
    assert "the search's pick is no better" in advised.sentences[0] and "Use the CNN" in advised.sentences[0]


def test_a_pick_that_could_not_be_trained_again_is_compared_with_nothing(confirmed: Rows) -> None:
    pick, advice = confirmed.candidates[0], next(c for c in confirmed.candidates if "advice" in c.roles)
    others = tuple(replace(c, roles=("finalist 2", *c.roles)) if c is advice else c for c in confirmed.candidates)
    failed = confirmed.confirmations.copy()
    of_pick = failed["candidate"] == pick.name
    failed.loc[of_pick, ["status", "reason"]] = "out_of_memory", "no room"
    failed.loc[of_pick, ["train_flops", "correct"]] = 0.0, None
    advised = recommend(replace(confirmed, candidates=others, confirmations=failed))
    assert advised is not None and advised.sentences[0].startswith("Not confirmed: ")
    assert not any("Cheaper" in sentence for sentence in advised.sentences)


@pytest.mark.parametrize(("pick", "cnn", "used"), [(0.95, 0.7, "Use feature"), (0.7, 0.95, "Use the CNN")])
def test_by_another_metric_than_accuracy_its_scores_decide(confirmed: Rows, pick: float, cnn: float, used: str) -> None:
    scored = confirmed.confirmations.assign(test_macro_f1=0.5)
    scored.loc[scored["candidate"] == confirmed.candidates[0].name, "test_macro_f1"] = pick
    scored.loc[scored["candidate"] == "cnn", "test_macro_f1"] = cnn
    baselines = confirmed.baselines.assign(val_macro_f1=confirmed.baselines["val_accuracy"])
    of_trials = confirmed.trials.assign(val_macro_f1=confirmed.trials["val_accuracy"])
    checkpoints = confirmed.checkpoints.assign(val_macro_f1=confirmed.checkpoints["val_accuracy"])
    advised = recommend(
        replace(
            confirmed, metric="macro_f1", confirmations=scored, baselines=baselines, trials=of_trials,
            checkpoints=checkpoints,
        )
    )  # fmt: skip
    assert advised is not None
    assert advised.sentences[0].startswith(f"Use {advised.confirmed.pick.label if pick > cnn else 'the CNN'}")
    text = " ".join(advised.sentences)
    assert f"the pick reached {pick:.4f}, the best baseline {cnn:.4f}" in text and "p values are of accuracy" in text


def test_a_baseline_that_ran_after_the_confirmation_does_not_change_it(confirmed: Rows) -> None:
    later = confirmed.baselines["name"] == "linear_probe"
    fixed = tuple(c for c in confirmed.candidates if c.name != "linear_probe")
    with_it = replace(confirmed, candidates=fixed, baselines=confirmed.baselines.copy())
    with_it.baselines.loc[later, "val_accuracy"] = 1.0
    before, after = recommend(replace(with_it, baselines=with_it.baselines[~later])), recommend(with_it)
    assert before is not None and after is not None and later.sum() == 1
    assert before.sentences == after.sentences and before.sentences[0].startswith("Use the CNN")


def test_a_pick_that_trains_for_fewer_epochs_is_said_to(confirmed: Rows) -> None:
    pick = confirmed.candidates[0]
    assert pick.strategy is not None
    short = replace(pick, strategy=replace(pick.strategy, planned_epochs=4))
    rows = replace(confirmed, candidates=(short, *confirmed.candidates[1:]))
    advised = recommend(rows)
    assert advised is not None and "(4 epochs on 3,000 images)" in advised.sentences[0]
    assert recommended_study(rows, advised)["recommendation"]["figures"]["epochs"] == 4
    number = pick.trial
    shorter = confirmed.trials.assign(planned_epochs=0, predicted_seconds=10.0, seconds_total=10.0)
    shorter.loc[shorter["number"] == number, ["planned_epochs", "epochs"]] = 4
    info = cost_info(replace(confirmed, trials=shorter), "seconds")
    assert next(s.predicted for s in info.spendings if s.trial.number == number) == 10.0
    assert next(s.trial.epochs for s in info.spendings if s.trial.number == number) == 4
