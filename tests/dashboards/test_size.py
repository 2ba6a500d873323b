"""The figure of accuracy versus image size."""

from dataclasses import replace

import pytest

from dashboards.figures import draw
from dashboards.figures.size import size_drawing, size_figure, size_info
from harness.analysis.rows import Rows
from harness.core.strategy import KINDS
from harness.storage.store import Store
from tests.helpers.synthetic import write_study

SIZES = (64, 128, 224)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('sizes')}/study.db")
    write_study(store, "sizes", 60, **{"search.image_size": SIZES})
    return Rows.read(store, "sizes")


def test_the_best_of_each_strategy_and_size(rows: Rows) -> None:
    info = size_info(rows)
    assert info.sizes == SIZES
    scored = rows.trials.dropna(subset="val_accuracy")
    for kind in KINDS:
        mine = scored[scored["strategy"] == kind]
        expected = mine.groupby("image_size")["val_accuracy"].max()
        assert [p.trial.image_size for p in info.best[kind]] == expected.index.tolist()
        assert [p.score for p in info.best[kind]] == expected.tolist()
    top = scored.groupby("image_size")["val_accuracy"].max()
    assert info.headline.startswith(f"The best trial at each size: 64 px {top[64]:.4f} for ")
    assert all(f"; {size} px {top[size]:.4f} for " in info.headline for size in SIZES[1:])


def test_the_figure_draws_all_trials_or_the_best(rows: Rows) -> None:
    info = size_info(rows)
    for most, drawn in ((1000, len(info.points)), (1, sum(map(len, info.best.values())))):
        figure = size_figure(info, most)
        assert sum(len(trace.x) for trace in figure.data if trace.mode == "markers") == drawn


def test_a_study_of_one_size_has_no_such_figure(rows: Rows) -> None:
    assert "accuracy-versus-image-size" in [drawing.id for drawing in draw(rows, 1000)]
    trials = rows.trials[rows.trials["image_size"] == 64]
    one = replace(rows, trials=trials, checkpoints=rows.checkpoints[rows.checkpoints["number"].isin(trials["number"])])
    assert "accuracy-versus-image-size" not in [drawing.id for drawing in draw(one, 1000)]


def test_the_numbers_are_those_of_the_figure(rows: Rows) -> None:
    views = size_drawing(rows, 1000).views
    assert {len(view.numbers.rows) for view in views.values()} == {len(KINDS) * len(SIZES)}
