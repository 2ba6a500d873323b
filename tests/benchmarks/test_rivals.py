"""What `benchmarks.rivals` makes of the lines that searches report."""

from pathlib import Path

import pytest

from benchmarks.rivals.curves import Report, Ruler, Standing, as_line, judge, read_reports, standings
from benchmarks.rivals.job import Job, strategy_of
from harness.core.strategy import Strategy

RULER = Ruler(n_train=500, n_validation=500, n_classes=10, image_size=32, epochs=5, cache_bytes=10**9)
EXTRACTION = Strategy("feature_extraction", 13, "average", (64, 32), 0.2, "adam", 3e-3, image_size=32)
FINE_TUNING = Strategy("fine_tune_all", 0, "average", (), 0.0, "sgd", 1e-4, image_size=32)
MOST_EXPENSIVE = RULER.most_expensive(3, 4096)


def test_reports_come_back_in_order_without_what_is_late_or_half_written(tmp_path: Path) -> None:
    early, late, over = (Report(seconds, "a", 2, EXTRACTION, 0.5) for seconds in (1.5, 8.0, 10.1))
    file = tmp_path / "reports.jsonl"
    file.write_text("".join(map(as_line, (late, early, over))) + as_line(early)[:-20], encoding="utf-8")
    assert read_reports(file, 10) == [early, late]
    assert read_reports(tmp_path / "none.jsonl", 10) == []


def test_a_standing_for_each_report_that_makes_it_better() -> None:
    reports = [
        Report(1, "a", 1, EXTRACTION, 0.5),
        Report(2, "a", 2, EXTRACTION, 0.4),
        Report(3, "b", 1, FINE_TUNING, 0.5),  # dearer and no better
        Report(4, "b", 2, FINE_TUNING, 0.9),
        Report(5, "c", 1, EXTRACTION, 0.8),  # not the best, but so cheap
    ]
    found = standings(reports, RULER, MOST_EXPENSIVE)
    assert [(standing.seconds, standing.best) for standing in found] == [(1, 0.5), (4, 0.9), (5, 0.9)]
    volumes = [standing.hypervolume for standing in found]
    assert volumes == sorted(set(volumes))


def test_the_ruler_credits_frozen_layers_and_nothing_is_dearer_than_the_most_expensive() -> None:
    assert RULER.flops(EXTRACTION, 5) < 0.3 * RULER.flops(FINE_TUNING, 5)
    assert RULER.flops(FINE_TUNING, 1) < RULER.flops(FINE_TUNING, 5) < MOST_EXPENSIVE


def test_verdict() -> None:
    found = {
        "harness": [Standing(5, 0.8, 0.90), Standing(12, 0.9, 0.991), Standing(40, 0.9, 1.0)],
        "one": [Standing(20, 0.9, 0.80)],
        "other": [Standing(48, 0.9, 0.995)],
        "none": [],
    }
    verdict = judge(found, budget=60)
    assert verdict.target == pytest.approx(0.99)
    assert verdict.seconds == {"harness": 12, "one": None, "other": 48, "none": None}
    assert (verdict.ratio, verdict.is_bound, verdict.overtaken) == (0.25, False, 40)


def test_verdict_where_no_rival_or_not_the_harness_got_there() -> None:
    strong, weak = [Standing(15, 0.9, 1.0)], [Standing(30, 0.9, 0.7)]
    ahead = judge({"harness": strong, "rival": weak}, budget=60)
    assert (ahead.ratio, ahead.is_bound, ahead.overtaken) == (0.25, True, 15)
    behind = judge({"harness": weak, "rival": strong}, budget=60)
    assert (behind.ratio, behind.is_bound, behind.overtaken) == (None, False, None)


def test_a_job_survives_its_file_and_spans_the_study_s_space(tmp_path: Path) -> None:
    space = {
        "strategies": ["feature_extraction", "freeze_first_k"], "optimizer": ["adam", "sgd"], "frozen": [1, 12],
        "hidden_layers": [0, 2], "head_width": [32, 4096], "dropout": [0.0, 0.6],
        "learning_rate": {"feature_extraction": [5e-4, 5e-2], "freeze_first_k": [1e-5, 3e-3]},
    }  # fmt: skip
    job = Job("images", "weights", "reports", "folder", space, RULER, 64, 180.0, 0, 1.0)
    job.write(tmp_path / "job.json")
    assert Job.read(str(tmp_path / "job.json")) == job
    drawn = {name: values[-1] for name, values in job.choices().items()}
    drawn |= {name: most for name, (_, most, _) in job.ranges().items()}
    assert strategy_of(drawn) == Strategy(
        "freeze_first_k", 12, "average", (4096, 4096), 0.6, "sgd", 3e-3, image_size=32
    )
    drawn |= {"strategy": "feature_extraction", "hidden_layers": 0}
    assert strategy_of(drawn) == Strategy("feature_extraction", 13, "average", (), 0.0, "sgd", 5e-2, image_size=32)
