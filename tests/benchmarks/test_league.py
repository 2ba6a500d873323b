"""The league: its arms, and the verdicts on recorded rows."""

import json
from pathlib import Path

import pytest

from benchmarks.league import record, standings, verdicts
from benchmarks.table import placed
from harness.core.backbone import BackboneSpec
from harness.core.spec import AdviceSpec
from harness.core.strategy import ARTICLE_KINDS, VGG16, Strategy
from harness.guidance.advice import ADVISED
from harness.rules.arms import TRAINED_SIZES, arms, waves

ACCURACIES = {
    (64, "near"): {"feature_extraction": 0.6, "freeze_first_k": 0.7, "fine_tune_all": 0.65, "from_scratch": 0.2},
    (128, "near"): {"feature_extraction": 0.9, "freeze_first_k": 0.85, "fine_tune_all": 0.8, "from_scratch": 0.2},
    (64, "nearer"): {"feature_extraction": 0.6, "freeze_first_k": 0.6, "fine_tune_all": 0.8, "from_scratch": 0.2},
    (128, "nearer"): {"feature_extraction": 0.9, "freeze_first_k": 0.8, "fine_tune_all": 0.6, "from_scratch": 0.2},
}


def of_the_article(image_size: int) -> list[Strategy]:
    """Return the article's four strategies at ``image_size``."""
    wanted = [advised.on(BackboneSpec.load(VGG16), image_size) for advised in ADVISED.values()]
    return [arm for arm in arms() if arm in wanted]


def test_no_arm_is_recorded_twice_and_frozen_ones_come_first() -> None:
    assert len(set(arms())) == len(arms())
    assert {arm.kind for arm in waves()[0]} == {"feature_extraction"}
    for size in TRAINED_SIZES:
        assert [arm.kind for arm in of_the_article(size)] == list(ARTICLE_KINDS)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows of two similar sets at both sizes."""
    monkeypatch.setattr(verdicts, "ROWS", tmp_path)
    monkeypatch.setattr(record, "ROWS", tmp_path)
    monkeypatch.setattr(verdicts, "SETS", tmp_path / "sets.json")
    distances = {name: {"distance": 0.05, "error": 0.01} for name in ("near", "nearer")}
    (tmp_path / "sets.json").write_text(json.dumps(distances))
    for size in TRAINED_SIZES:
        for arm in of_the_article(size):
            for name in distances:
                accuracy = ACCURACIES[size, name][arm.kind]
                add(tmp_path, name, arm, accuracy)
    return tmp_path


def add(folder: Path, name: str, arm: Strategy, accuracy: float, seed: int = 0) -> None:
    row = {
        "dataset": name, "n_train": 100, "seed": seed, "n_validation": 50, "strategy": arm.as_row(),
        "planned_flops": 1e12, "curve": [[1e12, 1.0, accuracy, 0.5, 0.5]],
    }  # fmt: skip
    with (folder / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def test_the_lead_of_the_advice_is_told_at_each_size(recorded: Path) -> None:
    first = next(line for line in verdicts.table(AdviceSpec()).splitlines() if "feature_extraction" in line)
    _, scenario, small, large, n, _ = (cell.strip() for cell in first.split("|"))
    assert scenario == "1 `feature_extraction`" and n == "2, 2"
    assert small.startswith("-15.0 (") and large.startswith("+7.5 (")  # -10 and -20, +5 and +10 points


def test_a_place_that_lacks_a_size_is_not_compared(recorded: Path) -> None:
    before = verdicts.table(AdviceSpec())
    for arm in of_the_article(64):
        add(recorded, "near", arm, 0.99, seed=1)
    assert verdicts.table(AdviceSpec()) == before


def test_regrets_are_behind_the_best_of_the_four(recorded: Path) -> None:
    lines = verdicts.regrets(128, verdicts.at_all_sizes()[128]).splitlines()
    rows = {
        cells[1].strip(" `"): [cell.strip() for cell in cells[2:4]] for line in lines[2:] if (cells := line.split("|"))
    }
    assert rows["feature_extraction"] == ["2 of 2", "0.0 (0.0 to 0.0)"]
    assert rows["from_scratch"][0] == "0 of 2" and rows["from_scratch"][1].startswith("70.0 (")


def test_what_is_recorded_is_known(recorded: Path) -> None:
    places = {place for place, _ in record.recorded("near")}
    assert places == {record.Place("near", 100, 0)}
    assert {arm for _, arm in record.recorded("near")} == {*of_the_article(64), *of_the_article(128)}
    assert list(record.recorded("far")) == []


def test_the_committed_tables_are_made_from_the_committed_rows() -> None:
    page = verdicts.PAGE.read_text(encoding="utf-8")
    assert placed(page, verdicts.report(AdviceSpec()), verdicts.BEGIN) == page
    assert placed(page, standings.report(), standings.BEGIN) == page
