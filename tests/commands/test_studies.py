"""The commands that list, show, export, import and delete studies."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from harness import studies
from harness.core.processes import host, process_started
from harness.core.results import Checkpoint, Seconds, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.storage import heartbeat, tables
from harness.storage.sqlite_files import url_of
from harness.storage.store import Store
from harness.storage.tickets import Planned
from harness.storage.trials import TrialStart
from harness.strategy_search import copying
from harness.strategy_search.mirror import mirror
from tests.conftest import postgres_database
from tests.helpers.whole import copy_is_whole

NAME = """it's "50%" é"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.large])])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        yield Store(f"sqlite:///{tmp_path}/source.db")
        return
    template = request.getfixturevalue("postgres_template")
    with postgres_database(request.getfixturevalue("postgres"), template) as url:
        opened = Store(url)
        yield opened
        opened.engine.dispose()


PARTS = {"train": [("a, b.png", "é", "0f"), ("c.png", "x", "1e")], "validation": [], "test": [("d.png", "x", "2d")]}


def fill(store: Store, name: str, pid: int = 2**22 + 1) -> None:
    """Create a complete trial, a waiting one and one whose process is dead, in two sessions of this host."""
    spec = StudySpec.load("mnist", {"name": name, "budget.trials": 3})[0].model_dump(mode="json")
    store.studies.create(name, spec=spec, data={"digest": "d", "n": [1.5, None]}, advice={"é": 1}, split=PARTS)
    store.tickets.add(name, [Planned("quota", {"strategy": "fine_tune_all"})] * 3)
    for number in range(2):
        session = store.sessions.begin(
            name, command="c", spec=spec, environment={"commit": "0", "device": "d"}, host=host(), pid=pid,
            process_started=process_started(pid) or 0.0,
        )  # fmt: skip
        assert store.tickets.claim(name, session, 3) is not None
        strategy = Strategy("fine_tune_all", 0, "flatten", (64, 32), 0.1, "sgd", 1e-3, image_size=32)
        store.trials.begin(
            name,
            number,
            TrialStart(strategy=strategy, origin="quota", seed=2**31 - 1, planned_flops=3e12),
            session=session,
        )
        store.trials.record_checkpoint(
            name, number, Checkpoint(1, 1e12, 1.0, float("nan"), float("inf"), 0.5), session=session
        )
        if number == 0:
            result = TrialResult("complete", 1e12, 3e12, 0.5, float("inf"), float("nan"), Seconds(1, 2, 3, 4))
            store.trials.end(name, 0, result, session=session)
            store.baselines.record(name, session=session, name="mlp", seed=1, result=result)
            store.sessions.end(session, "done")
    mirror(store, name)


def everything(store: Store, name: str) -> dict[str, Any]:
    """Return all that a database stores on a study except the ids of rows."""
    sessions = store.sessions.frame(name)
    place = {session: index for index, session in enumerate(sessions["id"])}
    frames = {
        "trials": store.trials.frame(name), "checkpoints": store.trials.checkpoints(name),
        "baselines": store.baselines.frame(name),
    }  # fmt: skip
    frames["sessions"] = sessions.drop(columns="id")
    for what in ("trials", "baselines"):
        frames[what]["session"] = frames[what]["session"].map(place)
    with store.engine.connect() as connection:
        query = sa.select(tables.ticket).where(tables.ticket.c.study == name).order_by("number")
        tickets = [row._asdict() | {"session": place.get(row.session)} for row in connection.execute(query)]
    study = optuna.load_study(study_name=name, storage=store.optuna_storage())
    trials = [(t.number, t.state, t.values, t.params, t.distributions, t.user_attrs, t.intermediate_values,
               t.datetime_start, t.datetime_complete) for t in study.get_trials()]  # fmt: skip
    row = store.studies.find(name)
    attributes = (study.metric_names, study.directions)
    return {
        **{what: repr(frame.to_dict("records")) for what, frame in frames.items()},
        "split": store.studies.split(name), "tickets": tickets, "optuna": trials, "row": row, "attributes": attributes,
    }  # fmt: skip


def test_export_and_import_lose_nothing(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(store, "other")
    fill(store, NAME)
    file = tmp_path / "exported ?#%41.db"
    assert studies.main(["export", NAME, str(file), "--storage", store.url]) == 0  # releases the dead session's trial
    copy_is_whole(file, NAME, session=2, trial=1, checkpoint=1, baseline=1, ticket=3)
    before = everything(store, NAME)
    assert [state[1].name for state in before["optuna"]] == ["COMPLETE"]
    assert [path.name for path in tmp_path.glob("exported*")] == [file.name]
    exported = Store(url_of(file))
    assert exported.studies.names() == [NAME]
    assert everything(exported, NAME) == before
    assert studies.main(["import", str(file), "--storage", store.url]) == 2
    assert "import it --as another name" in capsys.readouterr().err
    assert studies.main(["delete", NAME, "--storage", store.url]) == 0
    assert store.studies.names() == ["other"]
    assert studies.main(["import", str(file), "--storage", store.url]) == 0
    assert everything(store, NAME) == before
    assert studies.main(["import", str(file), "--storage", store.url, "--as", "again"]) == 0
    if store.url.startswith("sqlite"):
        copying.copy_study(Store(store.url), store, NAME, "copy")
        assert len(store.trials.frame("copy")) == len(store.trials.frame(NAME)), "from a file into the same file"
    again = store.studies.find("again")
    assert again is not None and again.spec["name"] == "again"
    session = store.sessions.begin(
        "again", command="", spec={}, environment={"commit": "", "device": ""}, host="h", pid=1, process_started=0.0
    )
    ticket = store.tickets.claim("again", session, 3)
    assert ticket is not None and (ticket.number, ticket.retries) == (1, 1)  # it continues where it was


def test_list_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    fill(Store(url), NAME)
    assert studies.main(["list", "--storage", url]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["study", "trials", "finished", "best", "metric", "last", "finished", "(UTC)"]
    assert line.startswith(NAME) and line.removeprefix(NAME).split()[:4] == ["3", "1", "0.5000", "accuracy"]
    assert studies.main(["show", NAME, "--storage", url]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["trials"] == {"complete": 1} and shown["spec"]["budget"]["trials"] == 3


def test_a_study_in_use_is_neither_deleted_nor_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    fill(Store(url), "busy", pid=1)  # a live process
    for arguments in (["delete", "busy"], ["export", "busy", str(tmp_path / "out.db")]):
        assert studies.main([*arguments, "--storage", url]) == 2
        assert "study 'busy' is being worked on from" in capsys.readouterr().err
    assert Store(url).studies.names() == ["busy"] and not (tmp_path / "out.db").exists()


@pytest.mark.parametrize("alive", [True, False])
def test_a_process_on_another_machine_gets_time_for_a_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], alive: bool
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    store = Store(url)
    fill(store, "far")
    there = store.sessions.begin(
        "far", command="", spec={}, environment={"commit": "", "device": ""}, host="moon/1", pid=1, process_started=0.0
    )
    for module in (copying, heartbeat):
        monkeypatch.setattr(module, "BEAT", 0.0)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if alive and len(looks) == 5:
            store.sessions.record_heartbeat(there)

    monkeypatch.setattr(copying.time, "sleep", sleep)
    assert studies.main(["delete", "far", "--storage", url]) == (2 if alive else 0)
    assert len(looks) == (5 if alive else heartbeat.DEAD_AFTER)
    assert ("study 'far' is being worked on from moon: stop that first" in capsys.readouterr().err) == alive
    assert store.studies.names() == (["far"] if alive else [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing"], "there is no study 'nothing' in this database. It holds: a"),
        (["delete", "nothing"], "there is no study 'nothing'"),
        (["export", "nothing", "new.db"], "there is no study 'nothing'"),
        (["export", "a", "study.db"], "study.db exists already"),
        (["import", "absent.db"], "there is no file absent.db"),
        (["import", "text.db"], "is not a SQLite database"),
        (["list", "--storage", "sqlite:////nowhere/at/all.db"], "/nowhere/at"),
    ],
)
def test_bad_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("no database " * 200)
    fill(Store("sqlite:///study.db"), "a")
    where = [] if "--storage" in arguments else ["--storage", "sqlite:///study.db"]
    assert studies.main([*arguments, *where]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("file", ["absent.db", "text.db", "."])
def test_a_wrong_file_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("no database " * 200)
    assert studies.main(["import", file, "--storage", "sqlite:///new.db"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


def test_the_split_is_printed_as_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(f"sqlite:///{tmp_path}/source.db")
    fill(store, "one")
    assert studies.main(["split", "one", "--storage", store.url]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["filename,label,split", '"a, b.png",é,train', "c.png,x,train", "d.png,x,test"]
    assert studies.main(["split", "two", "--storage", store.url]) == 2
    assert "there is no study 'two' in this database" in capsys.readouterr().err
