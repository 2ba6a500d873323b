"""Predictions class by class: the page's numbers against scikit-learn's, and data that leave some of them undefined."""

import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from dashboards.figures.classes import MOST_ROWS, classes_drawing, confusion_figure
from dashboards.page import render
from harness.analysis.classes import MOST_CLASSES, Classes, classes
from harness.analysis.rows import Rows
from harness.core.calibration import BINS
from harness.core.predictions import Predictions
from harness.statistics.intervals import wilson_interval
from harness.storage.store import Store
from tests.helpers.synthetic import predict_study, predictions, write_study


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('classes') / 'harness.db'}")
    write_study(store, "mnist", 12)
    predict_study(store, "mnist")
    return Rows.read(store, "mnist")


def of(found: Predictions, names: list[str]) -> Classes:
    """Return the classes of predictions that were never stored."""
    columns = {"true": found.labels, "predicted": found.predicted}
    frame = pd.DataFrame({name: pd.Categorical.from_codes(codes, names) for name, codes in columns.items()})
    return Classes.of("best", "trial 0", frame.assign(probability=found.probability))


def test_the_numbers_of_the_page_equal_scikit_learns(rows: Rows) -> None:
    best, advice, baseline = classes(rows)
    assert (best.whose, advice.name, baseline.name) == ("best", "trial 0", "cnn")
    stored = rows.predictions[rows.predictions["name"] == best.name]
    true, predicted = stored["true"].cat.codes, stored["predicted"].cat.codes
    assert best.confusion.tolist() == confusion_matrix(true, predicted).tolist()
    recalls, precisions = (score(true, predicted, average=None) for score in (recall_score, precision_score))
    table = re.findall(
        r"<td>([^<]*)</td><td>(\d+)</td><td>([\d.]+) \(([\d.]+) to ([\d.]+)\)</td><td>(\d+)</td><td>([\d.]+) \(",
        render([rows]),
    )[: len(recalls)]
    names = [name.replace("<", "&lt;").replace(">", "&gt;") for name in best.class_names]
    seen = {names.index(name): numbers for name, *numbers in table}
    for label in random.Random(0).sample(range(10), 5):  # two numbers each, and what they are of
        n, recall, low, high, called, precision = seen[label]
        assert (int(n), int(called)) == ((true == label).sum(), (predicted == label).sum())
        assert (recall, precision) == (f"{recalls[label]:.3f}", f"{precisions[label]:.3f}")
        hits = int(((true == label) & (predicted == label)).sum())
        assert (low, high) == tuple(f"{end:.3f}" for end in wilson_interval(hits, int(n)))


def test_the_calibration_error_is_that_of_scikit_learns_curve(rows: Rows) -> None:
    for found in classes(rows):
        right, sure = calibration_curve(found.correct, found.probability, n_bins=BINS)
        assert [b.correct.value for b in found.bins] == pytest.approx(right)
        assert [b.probability for b in found.bins] == pytest.approx(sure)
        sizes, _ = np.histogram(found.probability, np.linspace(0, 1, BINS + 1))
        assert found.calibration_error == pytest.approx(np.average(np.abs(right - sure), weights=sizes[sizes > 0]))


def test_confused_classes_lie_side_by_side_and_are_named_first() -> None:
    labels = np.repeat(np.arange(6), 20)
    guessed = labels.copy()
    guessed[[0, 1, 2, 3]] = 4  # class 0 is taken for 4
    guessed[[80, 81]] = 0
    guessed[[20, 21, 22]] = 5  # and 1 for 5
    found = of(Predictions.of(np.eye(6)[guessed] * 5, labels), list("abcdef"))
    order = found.shown.tolist()
    assert sorted(order) == list(range(6))
    assert abs(order.index(0) - order.index(4)) == abs(order.index(1) - order.index(5)) == 1
    assert [pair.words for pair in found.pairs] == [
        '4 of the 20 images of "a" taken for "e", 2 of the 20 the other way round',
        '3 of the 20 images of "b" taken for "f", 0 of the 20 the other way round',
    ]
    assert [score.name for score in found.worst_first][:3] == ["a", "b", "e"]


def test_a_class_without_validation_images_is_said_to_be_one() -> None:
    found = of(Predictions.of(np.array([[2.0, 0, 0], [0, 0, 2.0]]), np.array([0, 0])), ["cat", "dog", "newt"])
    assert found.without_images == ["dog", "newt"] and "Without a validation image" in found.sentences[-1]
    assert [score.name for score in found.worst_first] == ["cat", "dog", "newt"]
    assert np.isnan(found.scores[1].recall.value) and found.scores[2].precision.value == 0
    assert "newt: no validation image" in str(confusion_figure(found).data[0].hovertext)


def test_all_are_right() -> None:
    found = of(Predictions.of(np.eye(2)[[0, 1, 1]] * 50, np.array([0, 1, 1])), ["cat", "dog"])
    assert found.pairs == () and found.calibration_error == pytest.approx(0) and found.shown.tolist() == [0, 1]
    assert "0 of 3 validation images wrong" in found.sentences[0] and "as sure as it is right" in found.sentences[-1]
    assert len(confusion_figure(found).data) == 2


def test_a_thousand_classes_are_bounded() -> None:
    found = of(predictions(random.Random(1), 0.7, 2000, 1000), [f"class {label}" for label in range(1000)])
    errors = found.confusion.sum(axis=0) + found.confusion.sum(axis=1) - 2 * found.confusion.diagonal()
    assert len(found.shown) == MOST_CLASSES
    assert errors[found.shown].min() >= np.delete(errors, found.shown).max()
    drawing = classes_drawing(found)
    assert np.shape(drawing.confusion.data[0].z) == (MOST_CLASSES, MOST_CLASSES)
    assert len(drawing.confusion.to_json()) < 400_000
    assert len(drawing.scores.rows) == len(drawing.confused.rows) == MOST_ROWS
    assert "100 of 1,000 classes" in drawing.notes[0] and len(drawing.notes) == 3


def test_a_study_without_predictions_says_so(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "old", 3)
    rows = Rows.read(store, "old")
    assert classes(rows) == [] and "No predictions of this study are kept" in render([rows])
