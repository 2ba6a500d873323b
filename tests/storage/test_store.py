"""The store over real databases: one contract, held on SQLite and on PostgreSQL, and what is particular to each."""

import math
import multiprocessing
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from harness.core.errors import StorageError
from harness.core.predictions import Predictions
from harness.core.refinements import Refinements
from harness.core.results import STATUSES, Candidate, Checkpoint, Seconds, TrialResult
from harness.core.strategy import KINDS, N_CONVS, Strategy
from harness.storage import database, migrations, store, tables
from harness.storage.confirmations import Confirmation, Opening
from harness.storage.store import Store
from harness.storage.tickets import Counts, Planned, Ticket, TicketLost
from harness.storage.trials import TrialStart
from tests.conftest import postgres_database
from tests.helpers.whole import copy_is_whole

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "database.md"
ENVIRONMENT = {"commit": "0123abc+dirty", "device": "a processor, 2 cores", "versions": {"keras": "3"}}
NASTY = """Robert'); drop table harness_trial;-- "<script>alert('é')</script>" 50% {x} \\ 日本"""
TERA = 1e12
PREDICTIONS = Predictions.of(np.log([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.125, 0.25, 0.625]]), np.array([0, 2, 2]))


def strategy(kind: str = "freeze_first_k", head: tuple[int, ...] = (512, 256)) -> Strategy:
    frozen = {"feature_extraction": N_CONVS, "freeze_first_k": 5}.get(kind, 0)
    phases = (2, 0.125) if kind == "two_phase" else (0, 1.0)
    more = {"image_size": 32, "planned_epochs": 4, "refinements": Refinements(weight_decay=0.05)}
    return Strategy(kind, frozen, "average", head, 0.25, "adam", 3e-4, *phases, **more)  # type: ignore[arg-type]


def checkpoint(epoch: int, accuracy: float = 0.5) -> Checkpoint:
    losses = 1.0 / epoch, 1.5 / epoch
    return Checkpoint(epoch, epoch * TERA, epoch * 2.5, *losses, accuracy, accuracy / 2, accuracy / 4)


def result(status: str = "complete", accuracy: float | None = 0.9, flops: float = TERA, **more: Any) -> TrialResult:
    more = {"val_balanced_accuracy": 0.8, "val_macro_f1": 0.7, **more}
    return TrialResult(status, flops, 4 * TERA, accuracy, 0.3, 0.2, Seconds(1.0, 2.0, 4.0, 8.0), **more)  # type: ignore[arg-type]


def begin(opened: Store, name: str = "mnist") -> int:
    """A study with one session; its id."""
    opened.studies.create(name, spec={"seed": 0}, data={"classes": 10}, advice={"scenario": 2})
    return session(opened, name)


def session(opened: Store, name: str = "mnist") -> int:
    return opened.sessions.begin(
        name,
        command="harness run",
        spec={"seed": 0},
        environment=ENVIRONMENT,
        host="here",
        pid=7,
        process_started=1700000000.25,
    )


def start(opened: Store, number: int, run: int, kind: str = "freeze_first_k", name: str = "mnist") -> None:
    """Begin a trial as if session ``run`` had claimed it."""
    with opened.engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into harness_ticket (study, number, session, retries, begun, finished, origin, params) "
                "values (:study, :number, :session, 0, false, false, 'sampler', '{}') "
                "on conflict (study, number) do update set session = :session"
            ),
            {"study": name, "number": number, "session": run},
        )
    opened.trials.begin(
        name,
        number,
        TrialStart(strategy=strategy(kind), origin="sampler", seed=2**31 - 1, planned_flops=3 * TERA),
        session=run,
    )


def fill(opened: Store) -> None:
    """Two trials of each strategy, one of each pair pruned."""
    run = begin(opened)
    for number, kind in enumerate([*KINDS, *KINDS]):
        start(opened, number, run, kind)
        opened.trials.record_checkpoint("mnist", number, checkpoint(1), session=run)
        status, reason = ("complete", "") if number < len(KINDS) else ("pruned", "cannot reach the front")
        opened.trials.end(
            "mnist", number, result(status, 0.9 + number / 100, (number + 1) * TERA, reason=reason), session=run
        )


def frames(opened: Store, name: str = "mnist") -> list[pd.DataFrame]:
    return [
        opened.trials.frame(name),
        opened.trials.checkpoints(name),
        opened.baselines.frame(name),
        opened.sessions.frame(name),
    ]


def optuna_points(storage: optuna.storages.RDBStorage, name: str = "mnist") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=storage).trials


def work(url: str, name: str, worker: int, trials: int) -> None:
    """One process of several: opens the database and runs whole trials as the search does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = Store(url)
    study = optuna.create_study(study_name=name, storage=opened.optuna_storage(), load_if_exists=True)
    run = session(opened, name)
    for _ in range(trials):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        start(opened, trial.number, run, name=name)
        for epoch in (1, 2, 3):
            opened.trials.record_checkpoint(name, trial.number, checkpoint(epoch), session=run)
        opened.trials.end(name, trial.number, result(reason=f"worker {worker}"), session=run)
        study.tell(trial, 0.5)
    opened.sessions.end(run, "done")


def open_only(url: str) -> None:
    Store(url)


def run_together(target: Any, argument_lists: list[tuple[Any, ...]]) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["harness.storage.store", "alembic.autogenerate", "pytest"]
    )  # imported once, not by each
    processes = [context.Process(target=target, args=arguments) for arguments in argument_lists]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * len(processes)


class StoreContract:
    """What holds on every database. Subclasses give ``url``: of a database that is empty, or does not exist yet."""

    @pytest.fixture
    def opened(self, url: str) -> Iterator[Store]:
        opened = Store(url)
        yield opened
        opened.engine.dispose()

    def test_a_study_comes_back_as_it_was_created(self, opened: Store) -> None:
        assert opened.studies.find("mnist") is None
        before = datetime.now(UTC)
        opened.studies.create("mnist", spec={"a": [1, 2.5, None, True]}, data={"n": {}}, advice={"k": "é"})
        row = opened.studies.find("mnist")
        assert row
        assert (row.spec, row.data, row.advice) == ({"a": [1, 2.5, None, True]}, {"n": {}}, {"k": "é"})
        assert before <= row.created_at <= datetime.now(UTC)

    def test_the_parts_of_a_study_come_back_in_their_order(self, opened: Store) -> None:
        parts = {"train": [("b.png", "é", "0f"), ("a.png", "x", "1e")], "test": [("7", "new\nline", "2d")]}
        parts["validation"] = []
        opened.studies.create("mnist", spec={}, data={}, advice={}, split=parts)
        assert opened.studies.split("mnist") == parts and opened.studies.split("other") == {}
        opened.delete_study("mnist")
        assert opened.studies.split("mnist") == {}

    def test_a_second_study_of_the_same_name_is_refused(self, opened: Store) -> None:
        begin(opened)
        with pytest.raises(StorageError, match=r"already a study 'mnist'.*--fresh"):
            begin(opened)

    def test_numbers_that_are_not_finite_are_null_in_json(self, opened: Store) -> None:
        opened.studies.create("mnist", spec={"a": math.nan}, data={"b": [{"c": -math.inf}, 1.5]}, advice={})
        row = opened.studies.get("mnist")
        assert (row.spec, row.data) == ({"a": None}, {"b": [{"c": None}, 1.5]})
        opened.studies.add_to_data("mnist", layer_scores=[{"logme": math.inf}])
        assert opened.studies.get("mnist").data["layer_scores"] == [{"logme": None}]

    def test_what_only_reads_makes_no_tables(self, url: str) -> None:
        if url.startswith("sqlite"):
            with pytest.raises(StorageError, match=r"there is no database '.*': run a study first"):
                Store(url, must_exist=True)
            assert not Path(url.removeprefix("sqlite:///")).exists()
            sqlite3.connect(url.removeprefix("sqlite:///")).close()
        engine = sa.create_engine(database.parse_url(url))
        with engine.begin() as connection:
            connection.execute(sa.text("create table theirs (a integer)"))
        with pytest.raises(StorageError, match="holds nothing of the harness: run a study first"):
            Store(url, must_exist=True)
        assert sa.inspect(engine).get_table_names() == ["theirs"]
        engine.dispose()
        Store(url).engine.dispose()
        Store(url, must_exist=True).engine.dispose()

    def test_a_finished_trial_is_one_row_of_the_summary(self, opened: Store) -> None:
        run = begin(opened)
        start(opened, 3, run)
        opened.trials.record_checkpoint("mnist", 3, checkpoint(1), session=run)
        opened.trials.record_checkpoint("mnist", 3, checkpoint(2), session=run)
        assert opened.trials.frame("mnist").empty
        scores = {"val_top5_accuracy": 0.95, "val_auroc": 0.99, "rated_seconds": 5.0, "planned_seconds": 20.0}
        stopped = result("pruned", reason="cannot reach the front", features_cached=True, **scores)
        opened.trials.end("mnist", 3, stopped, session=run)
        frame = opened.trials.frame("mnist")
        assert len(frame) == 1
        row = frame.iloc[0].to_dict()
        began, ended = row.pop("started_at"), row.pop("finished_at")
        assert math.isnan(row.pop("predicted_seconds"))
        assert timedelta(0) <= ended - began < timedelta(minutes=5)
        assert abs(datetime.now(UTC) - ended) < timedelta(minutes=5)
        assert row == {
            "study": "mnist",
            "number": 3,
            "strategy": "freeze_first_k",
            "frozen": 5,
            "pooling": "average",
            "head": "512-256",
            "dropout": 0.25,
            "optimizer": "adam",
            "learning_rate": 3e-4,
            "head_epochs": 0,
            "rate_factor": 1.0,
            "image_size": 32,
            "backbone": "vgg16",
            "planned_epochs": 4,
            "body_rate": 1.0,
            "layer_decay": 1.0,
            "weight_decay": 0.05,
            "label_smoothing": 0.0,
            "clip_norm": 0.0,
            "augmentation": 0.0,
            "mixup": 0.0,
            "averaging": 0.0,
            "origin": "sampler",
            "status": "pruned",
            "val_top5_accuracy": 0.95,
            "val_auroc": 0.99,
            "reason": "cannot reach the front",
            "val_accuracy": 0.9,
            "val_balanced_accuracy": 0.8,
            "val_macro_f1": 0.7,
            "val_loss": 0.3,
            "train_loss": 0.2,
            "train_flops": TERA,
            "planned_flops": 4 * TERA,
            "saved_flops": 3 * TERA,
            "rated_seconds": 5.0,
            "planned_seconds": 20.0,
            "saved_seconds": 15.0,
            "epochs": 2,
            "seconds_features": 1.0,
            "seconds_compile": 2.0,
            "seconds_train": 4.0,
            "seconds_evaluation": 8.0,
            "seconds_total": 15.0,
            "features_cached": True,
            "seed": 2**31 - 1,
            "retries": 0,
            "session": run,
            "commit_hash": ENVIRONMENT["commit"],
            "device": ENVIRONMENT["device"],
        }

    def test_trials_come_by_number_and_only_of_their_study(self, opened: Store) -> None:
        for name in ("mnist", "other"):
            run = begin(opened, name)
            for number in (10, 2, 0):
                start(opened, number, run, name=name)
                opened.trials.record_checkpoint(name, number, checkpoint(1), session=run)
                opened.trials.end(name, number, result(), session=run)
        frame = opened.trials.frame("mnist")
        assert frame["number"].tolist() == [0, 2, 10]
        assert frame["study"].unique().tolist() == ["mnist"]
        assert frame["epochs"].tolist() == [1, 1, 1]

    @pytest.mark.parametrize("status", STATUSES)
    def test_every_status_is_recorded(self, opened: Store, status: str) -> None:
        run = begin(opened)
        start(opened, 0, run)
        opened.trials.end("mnist", 0, result(status), session=run)
        assert opened.trials.frame("mnist")["status"].tolist() == [status]

    def test_another_status_or_origin_is_refused(self, opened: Store) -> None:
        run = begin(opened)
        start(opened, 0, run)
        with pytest.raises(sa.exc.IntegrityError, match="status"):
            opened.trials.end("mnist", 0, result("done"), session=run)
        with pytest.raises(sa.exc.IntegrityError, match="origin"):
            opened.trials.begin(
                "mnist", 0, TrialStart(strategy=strategy(), origin="a whim", seed=0, planned_flops=1.0), session=run
            )

    def test_nothing_saved_when_more_was_spent_than_planned(self, opened: Store) -> None:
        run = begin(opened)
        start(opened, 0, run)
        opened.trials.end("mnist", 0, result(flops=5 * TERA), session=run)
        assert opened.trials.frame("mnist")["saved_flops"].tolist() == [0.0]

    def test_a_trial_without_checkpoint_or_hidden_layer(self, opened: Store) -> None:
        run = begin(opened)
        start(opened, 0, run)
        opened.trials.begin(
            "mnist", 0, TrialStart(strategy=strategy(head=()), origin="advice", seed=0, planned_flops=TERA), session=run
        )
        opened.trials.end("mnist", 0, TrialResult("over_budget", 0.0, TERA, reason="too expensive"), session=run)
        row = opened.trials.frame("mnist").iloc[0]
        assert row["head"] == "" and row["epochs"] == 0 and row["seconds_total"] == 0
        assert row[["val_accuracy", "val_loss", "train_loss"]].isna().all()

    def test_a_loss_that_is_no_number_is_null_and_an_infinite_one_stays(self, opened: Store) -> None:
        run = begin(opened)
        start(opened, 0, run)
        opened.trials.record_checkpoint("mnist", 0, Checkpoint(1, TERA, 1.0, math.nan, math.inf, 0.1), session=run)
        opened.trials.end("mnist", 0, TrialResult("diverged", TERA, TERA, 0.1, math.nan, math.inf), session=run)
        point, row = opened.trials.checkpoints("mnist").iloc[0], opened.trials.frame("mnist").iloc[0]
        assert math.isnan(point["train_loss"]) and point["val_loss"] == math.inf
        assert math.isnan(row["val_loss"]) and row["train_loss"] == math.inf
        with opened.engine.connect() as connection:
            assert connection.scalar(sa.text("select count(*) from trial_summary where val_loss is null")) == 1

    def test_curves_are_there_while_the_trial_runs(self, opened: Store) -> None:
        run = begin(opened)
        start(opened, 0, run)
        for epoch in (2, 1):
            opened.trials.record_checkpoint("mnist", 0, checkpoint(epoch, epoch / 10), session=run)
        curve = opened.trials.checkpoints("mnist")
        assert list(curve.columns) == [
            "study", "number", "epoch", "train_flops", "rated_seconds", "train_seconds", "train_loss", "val_loss",
            "val_accuracy", "val_balanced_accuracy", "val_macro_f1",
        ]  # fmt: skip
        assert curve["rated_seconds"].isna().all()  # the study has no rates
        assert curve.drop(columns="rated_seconds").to_numpy().tolist() == [
            ["mnist", 0, 1, TERA, 2.5, 1.0, 1.5, 0.1, 0.05, 0.025],
            ["mnist", 0, 2, 2 * TERA, 5.0, 0.5, 0.75, 0.2, 0.1, 0.05],
        ]

    def test_a_trial_that_did_not_finish_starts_over(self, opened: Store) -> None:
        first = begin(opened)
        start(opened, 0, first)
        opened.trials.record_checkpoint("mnist", 0, checkpoint(1), session=first)
        second = session(opened)
        start(opened, 0, second, "from_scratch")
        assert opened.trials.checkpoints("mnist").empty
        with pytest.raises(TicketLost):
            opened.trials.end("mnist", 0, result(), session=first)
        opened.trials.end("mnist", 0, result(), session=second)
        row = opened.trials.frame("mnist").iloc[0]
        assert (row["session"], row["strategy"]) == (second, "from_scratch")

    def test_a_finished_trial_is_never_overwritten(self, opened: Store) -> None:
        run = begin(opened)
        start(opened, 0, run)
        opened.trials.record_checkpoint("mnist", 0, checkpoint(1), session=run)
        opened.trials.end("mnist", 0, result(accuracy=0.8), session=run)
        with pytest.raises(sa.exc.IntegrityError):
            start(opened, 0, run)
        opened.trials.end("mnist", 0, result(accuracy=0.7), session=run)  # the answer to the first was lost: no harm
        row = opened.trials.frame("mnist").iloc[0]
        assert (row["val_accuracy"], row["epochs"]) == (0.8, 1)

    def test_a_checkpoint_of_no_trial_is_refused(self, opened: Store) -> None:
        run = begin(opened)
        with pytest.raises(TicketLost):
            opened.trials.record_checkpoint("mnist", 0, checkpoint(1), session=run)
        opened.tickets.add("mnist", [Planned()])
        assert opened.tickets.claim("mnist", run, 1) == Ticket(0, 0)
        with pytest.raises(sa.exc.IntegrityError):
            opened.trials.record_checkpoint("mnist", 0, checkpoint(1), session=run)
        with pytest.raises(LookupError, match="no running trial 0"):
            opened.trials.end("mnist", 0, result(), session=run)

    def test_no_two_sessions_claim_the_same_trial(self, opened: Store) -> None:
        first, second = begin(opened), session(opened)
        opened.tickets.add("mnist", [Planned()] * 3)
        opened.tickets.add("mnist", [Planned("quota", {"strategy": "fine_tune_all"})])
        assert opened.tickets.planned("mnist")[2:] == [Planned(), Planned("quota", {"strategy": "fine_tune_all"})]
        assert opened.tickets.claim("mnist", first, 3) == opened.tickets.claim("mnist", first, 3) == Ticket(0, 0)
        assert opened.tickets.claim("mnist", second, 3) == Ticket(1, 0)
        start(opened, 0, first)
        opened.trials.end("mnist", 0, result(), session=first)
        assert opened.tickets.claim("mnist", first, 3) == Ticket(2, 0)
        opened.tickets.give_back("mnist", 1, session=first)  # not its own
        opened.tickets.give_back("mnist", 0, session=first)  # finished
        assert opened.tickets.counts("mnist") == Counts(planned=4, finished=1, held=2)
        opened.tickets.give_back("mnist", 1, session=second)
        assert opened.tickets.claim("mnist", second, 3) == Ticket(1, 0)
        third = session(opened)
        assert opened.tickets.claim("mnist", third, 3) is None

    def test_what_a_dead_session_held_is_anybody_s_and_no_longer_its_own(self, opened: Store) -> None:
        dead, other = begin(opened), session(opened)
        opened.tickets.add("mnist", [Planned()] * 3)
        for number in (0, 1):
            assert opened.tickets.claim("mnist", dead, 3) == Ticket(number, 0)
            start(opened, number, dead)
            opened.trials.record_checkpoint("mnist", number, checkpoint(1), session=dead)
            if number == 0:
                opened.trials.end("mnist", 0, result(), session=dead)
        assert opened.tickets.release_dead_session("mnist", dead) == [1]
        assert opened.tickets.release_dead_session("mnist", dead) == []
        assert [row.id for row in opened.sessions.unfinished("mnist")] == [other]
        for write in (
            lambda: opened.trials.begin(
                "mnist", 1, TrialStart(strategy=strategy(), origin="quota", seed=1, planned_flops=TERA), session=dead
            ),
            lambda: opened.trials.record_checkpoint("mnist", 1, checkpoint(2), session=dead),
            lambda: opened.trials.end("mnist", 1, result(), session=dead),
        ):
            with pytest.raises(TicketLost, match="trial 1 of study 'mnist'"):
                write()
        assert opened.tickets.claim("mnist", other, 3) == Ticket(1, 1, begun=True)
        start(opened, 1, other)
        opened.trials.end("mnist", 1, result(accuracy=0.7), session=other)
        frame = opened.trials.frame("mnist")
        assert frame[["number", "session", "retries", "val_accuracy", "epochs"]].to_numpy().tolist() == [
            [0, dead, 0, 0.9, 1],
            [1, other, 1, 0.7, 0],
        ]
        opened.sessions.record_heartbeat(dead)
        assert [row.id for row in opened.sessions.unfinished("mnist")] == [dead, other]
        assert opened.tickets.claim("mnist", dead, 3) == Ticket(2, 0)

    def test_a_confirmation_that_is_recorded_again_counts_once(self, opened: Store) -> None:
        """So that it can be repeated where the answer was lost with the connection."""
        run, candidate = begin(opened), Candidate("trial 3", ("finalist 1",), strategy(), 3)
        opening = opened.confirmations.record_test_opening(
            "mnist", Opening(command="c", finalists=1, seeds=[5], n_test=8, candidates=[candidate]), session=run
        )
        for accuracy in (0.5, 0.75):
            again = result(accuracy=accuracy, predictions=PREDICTIONS)
            opened.confirmations.record(
                "mnist", opening, Confirmation(candidate=candidate.name, seed=5, n_train=9, result=again), session=run
            )
        assert opened.confirmations.frame("mnist")["test_accuracy"].tolist() == [0.75]
        assert opened.confirmations.candidates("mnist", opening) == [candidate]

    def test_predictions_come_back_with_files_and_class_names(self, opened: Store) -> None:
        members = [("a.png", "cat", "0"), ("b.png", NASTY, "1"), ("c.png", NASTY, "2")]
        data = {"class_names": ["cat", "dog", NASTY, "never seen"]}
        opened.studies.create(
            "mnist", spec={}, data=data, advice={}, split={"validation": members, "test": members[:1]}
        )
        run = session(opened)
        start(opened, 3, run)
        calibrated = PREDICTIONS.calibrated()
        for _ in range(2):  # it is repeated where the answer was lost
            opened.trials.end("mnist", 3, result(predictions=calibrated), session=run)
        for seed in (1, 2):  # a baseline that runs again replaces the other
            opened.baselines.record("mnist", session=run, name="cnn", seed=seed, result=result(predictions=PREDICTIONS))
        opened.baselines.record("mnist", session=run, name="mlp", seed=1, result=result("diverged"))
        assert opened.predictions.names("mnist") == ["cnn", "trial 3"]
        both = opened.predictions.frame("mnist")
        assert both[["name", "seed"]].drop_duplicates().to_numpy().tolist() == [["cnn", 2], ["trial 3", 2**31 - 1]]
        frame = opened.predictions.frame("mnist", ["trial 3"])
        assert frame["image"].tolist() == [0, 1, 2] and frame["file"].tolist() == ["a.png", "b.png", "c.png"]
        assert frame["true"].tolist() == ["cat", NASTY, NASTY] and frame["predicted"].tolist() == ["cat", "dog", NASTY]
        assert frame["predicted"].cat.categories.tolist() == data["class_names"]
        assert frame["probability"].tolist() == pytest.approx([0.7, 0.7, 0.625], abs=1e-5)
        assert frame["true_probability"].tolist() == pytest.approx([0.7, 0.1, 0.625], abs=1e-5)
        assert opened.predictions.calibration("mnist", 3) == calibrated.calibration is not None
        assert opened.predictions.calibration("mnist", 4) is None
        assert opened.predictions.frame("mnist", ["trial 4"]).empty and opened.predictions.frame("absent").empty
        document, fence = DOCUMENT.read_text(encoding="utf-8"), opened.engine.dialect.name
        (query,) = re.findall(rf"```{fence}\n(.*?);\n```", document, re.DOTALL)
        with opened.engine.connect() as connection:
            assert [tuple(row) for row in connection.exec_driver_sql(query)] == [("b.png", NASTY, 2)]
        opened.studies.delete("mnist")
        assert opened.predictions.names("mnist") == []

    def test_a_baseline_is_replaced_when_run_again(self, opened: Store) -> None:
        run = begin(opened)
        opened.baselines.record("mnist", session=run, name="mlp", seed=1, result=result(accuracy=0.8))
        again = result(accuracy=0.85, curve=(checkpoint(1), checkpoint(2)))
        opened.baselines.record("mnist", session=run, name="mlp", seed=2, result=again)
        opened.baselines.record("mnist", session=run, name="cnn", seed=2, result=result(accuracy=0.9))
        frame = opened.baselines.frame("mnist")
        assert frame["name"].tolist() == ["cnn", "mlp"]
        row = frame.iloc[1]
        assert (row["val_accuracy"], row["seed"], row["epochs"], row["seconds_total"]) == (0.85, 2, 2, 15.0)
        assert (row["commit_hash"], row["device"]) == (ENVIRONMENT["commit"], ENVIRONMENT["device"])

    def test_sessions_are_open_until_they_end(self, opened: Store) -> None:
        first, second = begin(opened), session(opened)
        opened.sessions.end(first, "interrupted")
        row = opened.sessions.unfinished("mnist")[0]
        assert (row.id, row.host, row.pid, row.process_started) == (second, "here", 7, 1700000000.25)
        opened.sessions.record_heartbeat(second)
        later = opened.sessions.unfinished("mnist")[0].last_seen
        assert row.last_seen and later and later > row.last_seen
        frame = opened.sessions.frame("mnist")
        assert frame["outcome"].fillna("-").tolist() == ["interrupted", "-"]
        assert frame["ended_at"].isna().tolist() == [False, True]
        assert frame["environment"].tolist() == [ENVIRONMENT, ENVIRONMENT]
        assert str(frame["started_at"].dtype) == "datetime64[us, UTC]"

    def test_an_empty_frame_has_the_types_of_a_full_one(self, opened: Store) -> None:
        empty = [frame.dtypes.to_dict() for frame in frames(opened)]
        fill(opened)
        run = session(opened)
        opened.baselines.record("mnist", session=run, name="mlp", seed=1, result=result())
        assert [frame.dtypes.to_dict() for frame in frames(opened)] == empty

    def test_names_with_quotes_and_html_round_trip(self, opened: Store) -> None:
        run = begin(opened, NASTY)
        start(opened, 0, run, name=NASTY)
        opened.trials.end(NASTY, 0, result(reason=NASTY), session=run)
        opened.sessions.end(run, NASTY)
        assert opened.studies.names() == [NASTY]
        row = opened.studies.find(NASTY)
        assert row and row.name == NASTY
        assert opened.trials.frame(NASTY)[["study", "reason"]].iloc[0].tolist() == [NASTY, NASTY]
        assert opened.sessions.frame(NASTY)["outcome"].tolist() == [NASTY]
        opened.delete_study(NASTY)
        assert opened.studies.names() == []

    def test_deleting_a_study_removes_both_parts_and_spares_the_others(self, opened: Store) -> None:
        storage = opened.optuna_storage()
        for name in ("mnist", "other"):
            study = optuna.create_study(study_name=name, storage=storage)
            run = begin(opened, name)
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            start(opened, trial.number, run, name=name)
            opened.trials.record_checkpoint(name, trial.number, checkpoint(1), session=run)
            opened.baselines.record(name, session=run, name="mlp", seed=0, result=result())
            opened.trials.end(name, trial.number, result(), session=run)
            study.tell(trial, 0.9)
        opened.delete_study("mnist")
        opened.delete_study("mnist")  # nothing left: nothing happens
        assert opened.studies.names() == optuna.get_all_study_names(storage) == ["other"]
        assert [len(frame) for frame in frames(opened, "mnist")] == [0, 0, 0, 0]
        assert [len(frame) for frame in frames(opened, "other")] == [1, 1, 1, 1]
        assert len(optuna_points(storage, "other")) == 1
        storage.engine.dispose()

    def test_optuna_shares_the_database(self, opened: Store) -> None:
        storage = opened.optuna_storage()
        study = optuna.create_study(study_name="mnist", storage=storage, directions=["maximize", "minimize"])
        study.enqueue_trial({"x": 0.5})
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=3)
        with opened.engine.connect() as connection:
            assert connection.scalar(sa.text("select count(*) from trials")) == 3
        storage.engine.dispose()

    def test_opening_again_changes_nothing(self, opened: Store, url: str) -> None:
        fill(opened)
        before = opened.trials.frame("mnist")
        again = Store(url)
        pd.testing.assert_frame_equal(again.trials.frame("mnist"), before)
        again.engine.dispose()

    def test_several_processes_may_open_a_new_database_at_once(self, url: str) -> None:
        run_together(open_only, [(url,)] * 4)
        opened = Store(url)
        assert opened.studies.names() == []
        opened.engine.dispose()

    def test_several_processes_write_at_once(self, opened: Store, url: str) -> None:
        workers, trials = 4, 5
        begin(opened)
        study = optuna.create_study(study_name="mnist", storage=opened.optuna_storage())
        for point in range(workers):
            study.enqueue_trial({"x": point / workers})
        run_together(work, [(url, "mnist", worker, trials) for worker in range(workers)])
        frame = opened.trials.frame("mnist")
        assert frame["number"].tolist() == list(range(workers * trials))
        assert (frame["epochs"] == 3).all()
        assert frame["reason"].value_counts().to_dict() == {f"worker {worker}": trials for worker in range(workers)}
        points = optuna_points(opened.optuna_storage())
        assert {point.state for point in points} == {optuna.trial.TrialState.COMPLETE}
        assert len({point.params["x"] for point in points}) == workers * trials

    def test_the_schema_is_that_of_the_tables(self, opened: Store) -> None:
        def ours(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
            return kind != "table" or (str(name).startswith("harness_") and name != migrations.VERSION_TABLE)

        with opened.engine.connect() as connection:
            options = {"compare_type": True, "include_object": ours, "version_table": migrations.VERSION_TABLE}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, tables.metadata) == []

    def test_a_database_of_another_chain_of_revisions_is_refused(self, opened: Store, url: str) -> None:
        with opened.engine.begin() as connection:
            connection.execute(sa.text("update harness_schema_version set version_num = '0003'"))
        with pytest.raises(
            StorageError, match=r"schema version '0003', this harness wants '0001_initial_6': use the version"
        ):
            Store(url)

    def test_an_older_database_is_migrated_and_a_newer_one_refused(
        self, url: str, newer: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = Store(url)
        fill(opened)
        before = opened.trials.frame("mnist")
        opened.engine.dispose()

        migrate = migrations.migrate
        with monkeypatch.context() as patch:
            patch.setattr(store, "migrate", lambda connection, **_: migrate(connection, newer))
            opened = Store(url)
        with opened.engine.connect() as connection:
            assert connection.scalar(sa.text("select count(*) from harness_trial where note = 'none'")) == len(before)
        pd.testing.assert_frame_equal(opened.trials.frame("mnist"), before)
        opened.engine.dispose()

        with pytest.raises(
            StorageError, match=r"schema version '9999'.*wants '00.*version of the harness that made it.*--storage"
        ):
            Store(url)

    def test_a_migration_that_fails_leaves_the_database_as_it_was(
        self, url: str, newer: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = Store(url)
        fill(opened)
        with (newer / "versions" / "9999_note.py").open("a") as file:
            file.write("    raise RuntimeError('in the middle')\n")
        migrate = migrations.migrate
        with monkeypatch.context() as patch:
            patch.setattr(store, "migrate", lambda connection, **_: migrate(connection, newer))
            with pytest.raises(RuntimeError, match="in the middle"):
                Store(url)
        opened.engine.dispose()
        opened = Store(url)
        assert len(opened.trials.frame("mnist")) == 2 * len(KINDS)
        assert "note" not in {column["name"] for column in sa.inspect(opened.engine).get_columns("harness_trial")}
        opened.engine.dispose()

    @pytest.fixture
    def newer(self, tmp_path: Path) -> Path:
        """The migrations of a later harness: ours and one more."""
        folder = tmp_path / "50% newer"
        shutil.copytree(migrations.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
        config = Config()
        config.set_main_option("script_location", str(migrations.FOLDER).replace("%", "%%"))
        head = ScriptDirectory.from_config(config).get_current_head()
        (folder / "versions" / "9999_note.py").write_text(
            "import sqlalchemy as sa\n"
            "from alembic import op\n"
            f"revision, down_revision = '9999', {head!r}\n"
            "def upgrade():\n"
            "    op.add_column('harness_trial', sa.Column('note', sa.Text, server_default='none'))\n"
        )
        return folder

    def test_tables_of_another_optuna_are_refused(self, opened: Store, url: str) -> None:
        opened.optuna_storage().engine.dispose()
        with opened.engine.begin() as connection:
            connection.execute(sa.text("update alembic_version set version_num = 'v99.0.0.a'"))
        with pytest.raises(StorageError, match=r"cannot be used: The runtime optuna version .* no longer compatible"):
            Store(url).optuna_storage()

    def test_the_document_names_every_column_of_the_summary(self, opened: Store) -> None:
        rows = re.findall(r"^\| (`[^|]*`) \|[^|]*\|[^|]*\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
        documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
        assert documented == [column["name"] for column in sa.inspect(opened.engine).get_columns("trial_summary")]
        assert documented == [column.name for column in tables.trial_summary.columns]

    def test_the_document_s_queries(self, opened: Store) -> None:
        fill(opened)
        queries = re.findall(r"```sql\n(.*?);\n```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
        with opened.engine.connect() as connection:
            strategies, front, saved, confirmed = (
                [tuple(row) for row in connection.exec_driver_sql(query)] for query in queries
            )
        assert sorted(strategies) == sorted(
            (kind, 2, 0.9 + (index + 5) / 100, (2 * index + 7) * TERA) for index, kind in enumerate(KINDS)
        )
        assert [row[0] for row in front] == [0, 1, 2, 3, 4]
        assert saved == [("complete", 5, 6.0, 0.3), ("pruned", 5, 0.0, 0.0)]
        assert confirmed == []


class TestSqlite(StoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        folder = tmp_path / "an {odd} 100% folder"
        folder.mkdir()
        return f"sqlite:///{folder}/study.db"

    @pytest.fixture
    def opened(self, url: str, empty_database: Path) -> Iterator[Store]:
        """Open a copy with all tables, which only tests that take ``url`` alone have created."""
        shutil.copyfile(empty_database, url.removeprefix("sqlite:///"))
        opened = Store(url)
        yield opened
        opened.engine.dispose()

    def test_the_predictions_of_a_trial_take_less_than_10_kb_for_1000_images(self, opened: Store) -> None:
        run, draw = begin(opened), np.random.default_rng(0)
        predictions = Predictions.of(draw.normal(size=(1000, 1000)), np.arange(1000)).calibrated()

        def pages() -> int:
            with opened.engine.connect() as connection:
                return int(
                    connection.exec_driver_sql(
                        "select page_count * page_size from pragma_page_count, pragma_page_size"
                    ).scalar_one()
                )

        sizes = []
        for kept in (None, predictions):
            before = pages()
            for seed in range(40):
                name = f"{kept is None} {seed}"
                opened.baselines.record("mnist", session=run, name=name, seed=seed, result=result(predictions=kept))
            sizes.append(pages() - before)
        assert 6_000 < (sizes[1] - sizes[0]) / 40 < 10_000

    def test_the_summary_answers_in_the_sqlite_shell(self, opened: Store) -> None:
        shell = shutil.which("sqlite3")
        if shell is None:
            pytest.skip("no sqlite3 shell on this machine")
        fill(opened)
        query = "select strategy, count(*), max(val_accuracy), sum(train_flops) from trial_summary group by 1"
        command = [shell, opened.engine.url.database or "", query]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "feature_extraction|2|0.95|7000000000000.0" in printed.splitlines()
        assert len(printed.splitlines()) == len(KINDS)

    def test_a_transaction_keeps_other_writers_waiting_from_its_first_read_on(self, opened: Store) -> None:
        storage = opened.optuna_storage()
        for engine in (opened.engine, storage.engine):
            other = sqlite3.connect(opened.engine.url.database or "", timeout=0, isolation_level=None)
            with engine.connect() as connection:
                connection.execute(sa.select(1))
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("BEGIN IMMEDIATE")
            other.execute("BEGIN IMMEDIATE")
            other.close()
        storage.engine.dispose()

    def test_the_file_is_whole_when_it_is_closed_even_where_another_process_has_it_open(self, opened: Store) -> None:
        file = Path(opened.engine.url.database or "")
        other = sqlite3.connect(file)
        other.execute("select count(*) from harness_trial").fetchone()
        with database.closing():
            fill(opened)
        copy_is_whole(file, "mnist", trial=len(opened.trials.frame("mnist")))
        other.close()

    def test_a_full_disk_is_said_and_loses_nothing(self, opened: Store) -> None:
        run = begin(opened)
        start(opened, 0, run)
        opened.trials.end("mnist", 0, result(), session=run)

        @sa.event.listens_for(opened.engine, "checkout")
        def limit(connection: Any, *_: Any) -> None:
            connection.execute("PRAGMA max_page_count = 1")  # no more pages than there are

        def write_on() -> None:
            for number in range(1, 1000):
                start(opened, number, run)
                opened.trials.end("mnist", number, result(reason="x" * 5000), session=run)

        with pytest.raises(StorageError, match=r"study\.db is full: free some space.*is kept"):
            write_on()
        sa.event.remove(opened.engine, "checkout", limit)
        opened.engine.dispose()

        rows = opened.trials.frame("mnist")
        assert rows["number"].tolist() == list(range(len(rows))) and len(rows) >= 1
        start(opened, len(rows), run)
        opened.trials.end("mnist", len(rows), result(), session=run)
        assert len(opened.trials.frame("mnist")) == len(rows) + 1

    def test_a_full_disk_is_said_when_optuna_writes(self, opened: Store) -> None:
        storage = opened.optuna_storage()
        study = optuna.create_study(study_name="mnist", storage=storage)
        study.set_user_attr("kept", 1)

        @sa.event.listens_for(storage.engine, "checkout")
        def limit(connection: Any, *_: Any) -> None:
            connection.execute("PRAGMA max_page_count = 1")

        def write_on() -> None:
            for number in range(1000):
                study.set_user_attr(f"note {number}", "x" * 2000)

        with pytest.raises(StorageError, match="is full"):
            write_on()
        sa.event.remove(storage.engine, "checkout", limit)
        storage.engine.dispose()
        assert optuna.load_study(study_name="mnist", storage=opened.optuna_storage()).user_attrs["kept"] == 1

    def test_a_file_that_is_no_database_is_left_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "notes.db"
        file.write_bytes(b"shopping list\n" * 100)
        with pytest.raises(StorageError, match=r"notes\.db is not a SQLite database.*--storage"):
            Store(f"sqlite:///{file}")
        assert file.read_bytes() == b"shopping list\n" * 100

    def test_a_damaged_database_is_said(self, opened: Store, url: str) -> None:
        fill(opened)
        opened.engine.dispose()
        file = Path(opened.engine.url.database or "")
        with file.open("r+b") as handle:
            handle.seek(4096)
            handle.write(b"\xff" * (file.stat().st_size - 4096))
        with pytest.raises(StorageError, match="is not a SQLite database, or a damaged one"):
            Store(url)

    def test_a_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"folder '.*nowhere' of the database .* does not exist: create it"):
            Store(f"sqlite:///{tmp_path}/nowhere/study.db")

    @pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that even root cannot write to")
    def test_a_folder_that_cannot_be_written(self) -> None:
        with pytest.raises(StorageError, match=r"cannot be opened for writing: make its folder and file writable"):
            Store("sqlite:////proc/self/study.db")

    def test_a_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="cannot be opened for writing"):
            Store(f"sqlite:///{tmp_path}")

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
    def test_a_database_in_memory(self, url: str) -> None:
        with pytest.raises(StorageError, match="not a plain file on disk: give sqlite:///"):
            Store(url)

    def test_a_lock_that_is_never_released(self, opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        begin(opened)
        other = sqlite3.connect(opened.engine.url.database or "", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        @sa.event.listens_for(opened.engine, "checkout")
        def hurry(connection: Any, *_: Any) -> None:
            connection.execute("PRAGMA busy_timeout = 10")

        with pytest.raises(StorageError, match="was locked by another process"):
            session(opened)
        other.close()
        assert session(opened)


@pytest.mark.postgres
class TestPostgres(StoreContract):
    @pytest.fixture
    def url(self, request: pytest.FixtureRequest, postgres: sa.URL) -> Iterator[str]:
        """Make a copy with all tables for tests that take ``opened``, and an empty database for the others."""
        made = "opened" in request.fixturenames
        with postgres_database(postgres, request.getfixturevalue("postgres_template") if made else "template1") as url:
            yield url

    def test_the_driver_is_chosen(self, opened: Store, url: str) -> None:
        assert url.startswith("postgresql://")
        assert opened.url.startswith("postgresql+psycopg://")

    def test_a_connection_that_was_lost_is_made_anew(self, opened: Store, postgres: sa.URL) -> None:
        begin(opened)
        other = sa.create_engine(postgres.set(drivername="postgresql+psycopg"))
        cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"
        with other.begin() as connection:
            assert connection.execute(sa.text(cut), {"name": opened.engine.url.database}).all()
        other.dispose()
        assert opened.studies.names() == ["mnist"]

    def test_a_database_that_does_not_exist(self, postgres: sa.URL) -> None:
        with pytest.raises(StorageError, match=r"does not answer: check .*\"nowhere\" does not exist"):
            Store(postgres.set(database="nowhere").render_as_string(hide_password=False))

    def test_a_user_who_may_not_create_tables(self, url: str) -> None:
        with sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg")).begin() as connection:
            connection.execute(sa.text("create role guest login"))
        with pytest.raises(StorageError, match="does not let this user create or write tables: grant it"):
            Store(sa.make_url(url).set(username="guest").render_as_string(hide_password=False))


class TestUrls:
    """What no database is needed for."""

    def test_a_server_that_is_not_there_and_no_password_in_the_message(self) -> None:
        with pytest.raises(StorageError, match=r"127\.0\.0\.1:1/study does not answer: check") as caught:
            Store("postgresql://user:secret@127.0.0.1:1/study")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["results/study.db", "", "postgresql://user:secret@host:port/study"])
    def test_what_does_not_parse(self, url: str) -> None:
        with pytest.raises(StorageError, match=r"does not parse: give sqlite:///.* or postgresql://") as caught:
            Store(url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["mysql://host/study", "oracle+cx://host", "postgresql+asyncpg://host/study"])
    def test_another_kind(self, url: str) -> None:
        with pytest.raises(StorageError, match=r"of kind '.*' are not supported: give sqlite:///"):
            Store(url)

    def test_a_driver_that_is_not_installed(self) -> None:
        with pytest.raises(StorageError, match=r"driver of postgresql\+pg8000.* is not installed .*pip install"):
            Store("postgresql+pg8000://host/study")
