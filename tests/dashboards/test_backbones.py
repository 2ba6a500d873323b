"""The page of a study of two backbones: costs in seconds, a mark and a filter for each backbone."""

import json
import re
from pathlib import Path

import pytest

from dashboards.figures import draw
from dashboards.figures.front import front_figure, front_info
from dashboards.page import render
from dashboards.table import trials_table
from dashboards.theme import BACKBONE_MARKERS
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.core.cost import SECONDS
from harness.statistics.pareto import front
from harness.storage.store import Store
from tests.helpers.synthetic import confirm_study, write_study

TWO = ("vgg16", "efficientnet_lite0")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, Rows]:
    """A study of two backbones, confirmed, and one of VGG16 alone."""
    folder: Path = tmp_path_factory.mktemp("backbones")
    store = Store(f"sqlite:///{folder}/study.db")
    write_study(store, "two", 60, **{"search.backbones": TWO, "search.image_size": [64, 128]})
    confirm_study(store, "two")
    write_study(store, "one", 30)
    return Rows.read(store, "two"), Rows.read(store, "one")


@pytest.fixture(scope="module")
def two(studies: tuple[Rows, Rows]) -> Rows:
    return studies[0]


@pytest.fixture(scope="module")
def one(studies: tuple[Rows, Rows]) -> Rows:
    return studies[1]


def test_the_front_and_the_words_are_in_seconds(two: Rows, one: Rows) -> None:
    assert two.cost is SECONDS and two.backbones == TWO
    points = two.checkpoints.dropna(subset="val_accuracy").reset_index(drop=True)
    best = points.iloc[front(points["rated_seconds"].tolist(), points["val_accuracy"].tolist())]
    drawn = front_info(two, "seconds").front
    assert [(p.trial.number, p.epoch) for p in drawn] == list(zip(best["number"], best["epoch"], strict=True))
    other = front_info(two, "TFLOP").front
    assert [(p.trial.number, p.epoch) for p in other] != [(p.trial.number, p.epoch) for p in drawn]
    assert not any("TFLOP" in text for text in summarise(two).sentences)
    assert any("TFLOP" in text for text in summarise(one).sentences)


def test_the_page_begins_with_the_cost_of_its_study(two: Rows, one: Rows) -> None:
    in_seconds, in_flops = render([two]), render([one])
    assert '<body data-unit="seconds"' in in_seconds and '<body data-unit="TFLOP"' in in_flops
    pressed = re.compile(r'data-unit="(\w+)" aria-pressed="true"')
    assert pressed.findall(in_seconds) == ["seconds"] and pressed.findall(in_flops) == ["TFLOP"]
    assert "predicted from how fast cpu &lt;img" in in_seconds and "predicted from how fast" not in in_flops
    assert "Compute is the floating-point operations of training." in in_flops
    buttons = re.compile(r'data-filter="(\w+)" aria-pressed')
    assert buttons.findall(in_seconds) == list(TWO) and buttons.findall(in_flops) == []


def test_predicted_seconds_are_columns_where_a_study_has_them(two: Rows, one: Rows) -> None:
    def titles(rows: Rows) -> dict[str, str]:
        return {column["name"]: column["title"] for column in trials_table([rows])["columns"]}

    assert titles(two)["rated_seconds"] == "training s, predicted" and titles(one)["rated_seconds"] == ""


def test_marks_tell_backbones_apart_and_can_be_filtered(two: Rows, one: Rows) -> None:
    figure = front_figure(front_info(two, "seconds"), 2000)
    shapes = {name: set[str]() for name in TWO}
    for trace in figure.data:
        for backbone, symbol in zip(trace.customdata or (), trace.marker.symbol or (), strict=False):
            shapes[backbone].add(symbol.removesuffix("-open"))
    assert [shapes[name] for name in TWO] == [{symbol} for symbol in BACKBONE_MARKERS[:2]]
    assert [trace.name for trace in figure.data if trace.legendgroup in TWO] == list(TWO)
    alone = front_figure(front_info(one), 2000)
    assert not any(trace.customdata for trace in alone.data)
    assert not any(trace.legendgroup in TWO for trace in alone.data)


def test_every_point_of_a_trial_has_its_backbone(two: Rows) -> None:
    for drawing in draw(two, 2000):
        view = drawing.views["seconds"]
        for trace in json.loads(view.figure.to_json())["data"] if view.figure is not None else ():
            if "customdata" in trace:
                assert len(trace["customdata"]) == len(trace["x"]) == len(trace["y"]), drawing.id
                assert set(trace["customdata"]) <= set(TWO)
