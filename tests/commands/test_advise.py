"""`harness advise` and `harness.advise`: advice before any training."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import harness
from harness import league
from harness.core.spec import ANY_IMAGES, StudySpec
from harness.data.dataset import draw
from harness.rules import advising
from harness.rules.advised import Advised
from harness.rules.arms import probed_arms
from harness.rules.league import standings
from harness.rules.outcomes import recorded
from harness.rules.probes import Pass
from harness.statistics.similarity import Similarity
from tests.helpers.drawn_shapes import write_shapes

command = import_module("harness.advise")


@pytest.fixture
def advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Advised:
    """The advice on a few drawn shapes, with features and a distance that are made up."""
    write_shapes(tmp_path / "photos", 60)
    distances = Similarity(0.1, 0.01, 40, 0.0, 0.0, 0.0)
    monkeypatch.setattr(advising, "load_all", lambda backbones, paths: dict.fromkeys(b.name for b in backbones))
    monkeypatch.setattr(advising.Backbone, "of", lambda spec, weights: spec)
    monkeypatch.setattr(advising, "frozen_features", made_up)
    monkeypatch.setattr(advising, "measure_similarity", lambda images, weights, cache_bytes: distances)
    monkeypatch.chdir(tmp_path)
    spec, dataset = StudySpec.load(ANY_IMAGES, {"data.dataset": str(tmp_path / "photos")})
    return advising.advise(spec, dataset, draw(dataset, spec.data, 0), recorded(), {})


def made_up(images, spec, arms, note):  # type: ignore[no-untyped-def]
    draws = np.random.default_rng(0)
    features = images.labels[:, None] + draws.normal(size=(len(images), 8))
    passes = [Pass(spec.name, size, 1e11, 0.5) for size in sorted({arm.image_size for arm in arms})]
    return {arm.place(): features.astype(np.float32) for arm in arms}, passes


def test_the_advice_says_what_to_expect_and_what_it_costs(advised: Advised) -> None:
    assert {option.arm for option in advised.options} == set(recorded().arms)
    assert [option.accuracy for option in advised.options] == sorted(
        (o.accuracy for o in advised.options), reverse=True
    )
    assert all(0 <= o.low <= o.accuracy <= o.high <= 1 and o.flops > 0 and o.seconds > 0 for o in advised.options)
    assert advised.choice.arm == advised.by_rule[advised.rule.rule.name]
    assert advised.article.scenario == 1
    assert set(advised.probed.probes) == {arm.place() for arm in probed_arms()}
    assert advised.probed.n_train == sum(advised.profile.class_sizes) and advised.probed.classes == 3
    text = repr(advised)
    for expected in ("photos: ", "scenario 1", advised.choice.arm.place(), "In the league", "points behind the best"):
        assert expected in text


def test_it_is_printed_and_given_as_json(
    advised: Advised, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(advising, "advise", lambda *_: advised)
    assert command.main(["photos"]) == 0
    assert "<- recommended" in capsys.readouterr().out
    assert command.main(["photos", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["choice"]["place"] == advised.choice.arm.place() and len(found["options"]) == len(advised.options)
    assert found["rule"]["name"] == advised.rule.rule.name and found["article"]["scenario"] == 1
    assert repr(harness.advise("photos")) == repr(advised)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: write_shapes(folder / "photos" / "one", 20), "class"),
        (lambda folder: write_shapes(folder / "few", 5), ""),
        (lambda folder: (folder / "empty").mkdir(), ""),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    make,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],  # type: ignore[no-untyped-def]
) -> None:
    make(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert command.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and message in error and "Traceback" not in error


def test_a_folder_that_is_not_there_is_named_by_the_function_too(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="there is no file or folder"):
        harness.advise(tmp_path / "nowhere")


def test_the_league_is_printed_written_and_given_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "league.html"
    assert league.main(["--out", str(page)]) == 0
    printed = capsys.readouterr().out
    table = standings(recorded())
    assert table[0].rule.name[:20] in printed and f"{len(recorded().datasets)} data sets" in printed
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and all(standing.rule.name in text for standing in table)
    assert league.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["rule"] for row in found] == [standing.rule.name for standing in table]
    assert found[0]["behind"]["mean"] == pytest.approx(table[0].behind.mean)


@pytest.mark.large
def test_real_images_get_advice(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARNESS_VGG16_WEIGHTS", str(shared / "weights" / "vgg16_imagenet_notop.weights.h5"))
    assert command.main([str(shared / "datasets" / "ants_bees.npz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    best = max(probe["linear"] for probe in found["probes"].values())
    assert found["profile"]["similar"] and best > 0.85  # photos of insects, of which ImageNet has many
    assert found["choice"]["accuracy"] > 0.75 and found["choice"]["seconds"] > 0
