"""Confirming a search: training, opening of the test set, report and recommendation."""

import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import confirm, run, studies
from harness.confirmation import opening
from harness.confirmation.finalists import candidates
from harness.core.cost import FLOPS
from harness.core.errors import SpecError
from harness.core.results import Metric
from harness.core.strategy import Strategy
from harness.data.dataset import SealedTest
from harness.storage.store import Store
from harness.training.problem import Problem
from harness.training.trial import run_trial
from tests.helpers.whole import copy_is_whole

URL = "sqlite:///results/harness.db"
SMALL = ("--finalists", "2", "--seeds", "2")


@pytest.fixture(autouse=True)
def _tiny(tiny_vgg16: None, study_file: Path) -> None:
    """Use the tiny network and a small search space, since many are confirmed here."""
    text = study_file.read_text()
    for old, new in (
        ("[search]", '[search]\nstrategies = ["feature_extraction", "freeze_first_k"]\nhidden_layers = [0, 1]'),
        ("[4, 4096]", "[4, 16]"),
        ("[baselines]", '[baselines]\nnames = ["majority", "linear_probe"]'),
    ):
        assert old in text
        text = text.replace(old, new)
    study_file.write_text(text)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searched")


@pytest.fixture
def searched(kept: Path, tmp_path: Path) -> Iterator[Store]:
    """A study of three trials, searched once for all tests without opening the test set. Its images are kept, too."""
    if not (kept / "harness.db").exists():
        shutil.copy("digits.npz", kept)
        declared = Path("digits.toml")
        declared.write_text(declared.read_text().replace("digits.npz", str(kept / "digits.npz")))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SealedTest, "open", lambda _: pytest.fail("the search opened the test set"))
            patch.setattr("dashboards.page.write_page", lambda *_: None)
            patch.setattr("dashboards.optuna.attach", lambda *_: None)
            assert run.main(["--study", "tiny.toml", "--trials", "3"]) == 0
        with Store(URL).engine.connect() as connection:
            connection.exec_driver_sql("commit")  # VACUUM fails in an open transaction
            connection.exec_driver_sql(f"vacuum into '{kept / 'harness.db'}'")
    else:
        Path("results").mkdir()
        shutil.copy(kept / "harness.db", "results/harness.db")
    return Store(URL)


def measured(store: Store) -> pd.DataFrame:
    """Return the figures of all confirmations that must be reproducible."""
    columns = ["candidate", "seed", "status", "test_accuracy", "test_loss", "correct", "train_flops"]
    return store.confirmations.frame("tiny")[columns]


@pytest.mark.usefixtures("pages")
def test_a_whole_confirmation(searched: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert confirm.main(["--study", "tiny", *SMALL]) == 0
    copy_is_whole(Path("results/harness.db"), "tiny", opening=1, trial=3, baseline=2, session=2)
    printed = capsys.readouterr()
    (opening,) = searched.confirmations.openings("tiny").to_dict("records")
    assert opening["number"] == 1 and opening["finished_at"] is not pd.NaT and "harness confirm" in opening["command"]
    roles = {candidate.name: candidate.roles for candidate in searched.confirmations.candidates("tiny", 1)}
    assert {role for several in roles.values() for role in several} >= {
        "finalist 1", "advice", "baseline",
    }  # fmt: skip
    assert {name for name, role in roles.items() if role == ("baseline",)} == set(
        searched.baselines.frame("tiny")["name"]
    )
    rows = searched.confirmations.frame("tiny")
    assert set(zip(rows["candidate"], rows["seed"], strict=True)) == {
        (name, seed) for name in roles for seed in opening["seeds"]
    }
    assert not set(opening["seeds"]) & set(searched.trials.frame("tiny")["seed"]) and len(set(opening["seeds"])) == 2
    assert set(rows["n_train"]) == {96 + 48}  # train and validation together
    for row in rows.to_dict("records"):
        right = np.unpackbits(np.frombuffer(row["correct"], np.uint8), count=opening["n_test"])
        assert row["test_accuracy"] == pytest.approx(right.mean())
        predicted = searched.predictions.frame("tiny", [row["candidate"]], opening=1)
        predicted = predicted[predicted["seed"] == row["seed"]]
        assert (predicted["predicted"].astype(str) == predicted["true"].astype(str)).tolist() == right.tolist()
        assert predicted["file"].tolist() == [file for file, *_ in searched.studies.split("tiny")["test"]]
    assert rows["opening"].tolist() == [1] * len(rows)
    for part in ("Confirmed on the held-out test set", "Optimism: the search showed", "Measured on 30 test images"):
        assert part in printed.out
    assert "finalist 1" in printed.err and "test accuracy" in printed.err and "validation accuracy" not in printed.err
    assert searched.sessions.frame("tiny")["outcome"].tolist() == ["done", "done"]


def test_the_test_set_is_opened_again_only_with_reopen(searched: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert confirm.main(["--study", "tiny", *SMALL]) == 0
    first = measured(searched)
    capsys.readouterr()
    assert confirm.main(["--study", "tiny", *SMALL]) == 2
    assert "was opened on" in (error := capsys.readouterr().err) and "--reopen" in error
    assert len(searched.confirmations.openings("tiny")) == 1
    assert confirm.main(["--study", "tiny", *SMALL, "--reopen"]) == 0
    assert "has been opened 2 times" in capsys.readouterr().out
    again = measured(searched)[len(first) :].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, first)  # the same seeds: identical figures


def test_an_interrupted_confirmation_continues_with_its_candidates(
    searched: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = iter(range(3))

    def stops(*arguments: object, train: object = opening._train) -> object:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return train(*arguments)  # type: ignore[operator]

    with monkeypatch.context() as patched:
        patched.setattr(opening, "_train", stops)
        assert confirm.main(["--study", "tiny", *SMALL]) == 130
    begun = searched.confirmations.frame("tiny")
    assert len(begun) == 3 and searched.confirmations.openings("tiny")["finished_at"].isna().all()
    assert confirm.main(["--study", "tiny", "--seeds", "3"]) == 2
    assert "was interrupted and goes on with --finalists 2 --seeds 2" in capsys.readouterr().err
    assert confirm.main(["--study", "tiny", *SMALL]) == 0
    after = searched.confirmations.frame("tiny")
    assert len(searched.confirmations.openings("tiny")) == 1 and len(after) == 2 * len(
        searched.confirmations.candidates("tiny", 1)
    )
    kept = after.merge(begun, on=["candidate", "seed", "finished_at"])
    assert len(kept) == 3


def test_the_opening_is_recorded_before_the_test_set_is_read(searched: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Read(Exception):
        pass

    def read(_: SealedTest) -> None:
        assert len(searched.confirmations.openings("tiny")) == 1
        raise Read

    monkeypatch.setattr(SealedTest, "open", read)
    with pytest.raises(Read):
        confirm.main(["--study", "tiny", *SMALL])


def test_the_search_does_not_depend_on_the_test_set(searched: Store, tmp_path: Path) -> None:
    with np.load(tmp_path / "digits.npz") as archive:
        arrays = dict(archive)
    test = arrays["split"] == "test"
    arrays["images"][test] = arrays["labels"][test, None, None] * 100  # pixels that reveal the label
    np.savez(tmp_path / "digits.npz", **arrays)
    assert run.main(["--study", "tiny.toml", "--trials", "3", "--name", "planted"]) == 0
    columns = ["number", "strategy", "head", "learning_rate", "status", "val_accuracy", "val_loss", "train_loss"]
    pd.testing.assert_frame_equal(searched.trials.frame("tiny")[columns], searched.trials.frame("planted")[columns])


def test_the_recommendation_is_a_study_that_trains_the_pick(
    searched: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert confirm.main(["--study", "tiny", *SMALL, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    pick = searched.confirmations.candidates("tiny", 1)[0]
    assert pick.strategy is not None and printed["confirmed"]["candidates"][0]["candidate"]["name"] == pick.name
    with Path("results/tiny.recommendation.toml").open("rb") as file:
        written = tomllib.load(file)["recommendation"]
    figures = written["figures"]
    assert figures["expected_accuracy"] == printed["confirmed"]["candidates"][0]["test"]["mean"]
    assert figures["text"] == printed["sentences"] and written["strategy"]["kind"] == pick.strategy.kind
    assert run.main(["--study", "results/tiny.recommendation.toml"]) == 0
    (trained,) = searched.trials.frame("tiny-recommended").to_dict("records")
    assert Strategy.from_row(trained) == pick.strategy


def test_a_run_can_confirm_and_an_export_includes_confirmations(
    searched: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["--study", "tiny.toml", "--trials", "3", "--confirm"]) == 0
    assert "Confirmed on the held-out test set" in capsys.readouterr().out
    assert studies.main(["export", "tiny", "out.db"]) == 0
    other = Store("sqlite:///out.db")
    pd.testing.assert_frame_equal(measured(other), measured(searched))
    assert other.confirmations.candidates("tiny", 1) == searched.confirmations.candidates("tiny", 1)
    assert studies.main(["delete", "tiny"]) == 0
    assert searched.confirmations.openings("tiny").empty and searched.confirmations.frame("tiny").empty
    assert searched.confirmations.candidates("tiny", 1) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "other"], "there is no study 'other' in this database"),
        (["--study", "tiny", "--seeds", "1"], "--seeds 1: give 1 finalist and 2 seeds or more"),
        (["--study", "tiny", "--finalists", "0"], "--finalists 0"),
    ],
)
def test_bad_input(searched: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert confirm.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert searched.confirmations.openings("tiny").empty


@pytest.mark.parametrize(("metric", "other"), [("accuracy", "macro_f1"), ("macro_f1", "accuracy")])
def test_finalists_are_the_best_and_cheaper_ones_within_its_interval(metric: Metric, other: Metric) -> None:
    strategies = [Strategy("freeze_first_k", k, "average", (), 0.0, "adam", 1e-4, image_size=32) for k in range(1, 8)]
    accuracies = [0.95, 0.94, 0.80, 0.945, 0.96, 0.97, 0.90]
    costs = [10.0, 5.0, 1.0, 6.0, 20.0, 3.0, 2.0]
    rows = [
        strategy.as_row()
        | {"number": i, "status": "complete", "origin": "sampler", "train_flops": c}
        | {f"val_{metric}": a, f"val_{other}": 1 - a}
        for i, (strategy, a, c) in enumerate(zip(strategies, accuracies, costs, strict=True))
    ]
    rows[5]["status"] = "pruned"
    rows[2]["origin"] = "advice"
    baselines = pd.DataFrame({"name": ["majority"]})

    def chosen(n_validation: int, finalists: int) -> dict[str, tuple[str, ...]]:
        found = candidates(pd.DataFrame(rows), baselines, metric, FLOPS, n_validation, finalists)
        return {candidate.name: candidate.roles for candidate in found}

    fixed = {"trial 2": ("advice",), "majority": ("baseline",)}
    assert chosen(500, 3) == {
        "trial 4": ("finalist 1",), "trial 0": ("finalist 2",), "trial 3": ("finalist 3",),
    } | fixed  # fmt: skip
    assert chosen(500, 1) == {"trial 4": ("finalist 1",)} | fixed
    assert chosen(100_000, 3) == {"trial 4": ("finalist 1",)} | fixed  # with so many images the intervals are narrow
    rows[2][f"val_{metric}"], rows[2]["train_flops"] = 0.99, 1.0
    assert chosen(500, 3) == {"trial 2": ("finalist 1", "advice"), "majority": ("baseline",)}
    for row in rows:
        row["status"] = "failed"
    with pytest.raises(SpecError, match="no trial of the study is complete"):
        chosen(500, 3)


def test_the_cost_limit_of_a_trial_grows_with_the_images(tiny_problem: Problem) -> None:
    spec, split = tiny_problem.spec, tiny_problem.split
    spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"max_trial_cost": 2.0})})
    again, opened = opening._retraining(spec, split)
    assert (len(split.train), len(opened.train)) == (96, 144) and again.budget.max_trial_cost == 3.0


def test_fewer_seeds_of_a_confirmation_are_a_prefix() -> None:
    assert opening.fresh_seeds(0, 3) == opening.fresh_seeds(0, 5)[:3] != opening.fresh_seeds(1, 3)


def test_validating_only_at_the_end_trains_the_same_network(tiny_problem: Problem) -> None:
    strategy = Strategy("two_phase", 11, "average", (8,), 0.2, "adam", 3e-3, 1, 0.5, image_size=32)
    each, once = (
        run_trial(strategy, tiny_problem, seed=1, on_checkpoint=lambda _: None, first_look=look) for look in (1, 2)
    )
    assert (len(each.curve), len(once.curve)) == (2, 1)
    assert each.predictions is not None and once.predictions is not None
    assert each.val_loss == once.val_loss and len(once.predictions) == 48
    assert each.predictions.probability.tolist() == once.predictions.probability.tolist()
