"""The task of a search, the same for all rivals."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rivals.curves import Ruler
from harness.core.strategy import Strategy, depths

if TYPE_CHECKING:
    from harness.core.spec import StudySpec  # needs packages that rivals' environments do not have

STUDY = "mnist"


@dataclass(frozen=True)
class Job:
    """The files, the search space and the budget of a search.

    ``images``, ``weights`` and ``reports`` are files, ``folder`` is for all that a tuner writes. ``space`` is the
    study's ``[search]``. The ``budget`` is in seconds since the process was ``started``, on this machine's
    `time.monotonic`.
    """

    images: str
    weights: str
    reports: str
    folder: str
    space: Mapping[str, Any]
    ruler: Ruler
    batch_size: int
    budget: float
    seed: int
    started: float

    @classmethod
    def begun(
        cls, spec: "StudySpec", images: Path, ruler: Ruler, weights: Path, folder: Path, budget: float = float("inf")
    ) -> "Job":
        """Return a job that starts now: a search of the study ``spec`` that writes to the new ``folder``."""
        folder.mkdir()
        return cls(
            images=str(images), weights=str(weights), reports=str(folder / "reports.jsonl"), folder=str(folder),
            space=spec.search.model_dump(mode="json"), ruler=ruler, batch_size=spec.budget.batch_size, budget=budget,
            seed=spec.seed, started=time.monotonic(),
        )  # fmt: skip

    @classmethod
    def read(cls, file: str) -> "Job":
        """Read a job from a file of JSON."""
        fields = json.loads(Path(file).read_text(encoding="utf-8"))
        return cls(**{**fields, "ruler": Ruler(**fields["ruler"])})

    def write(self, file: Path) -> None:
        """Write the job to a file that `read` reads."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def asked_for(cls) -> "Job":
        """Return the job whose file the command line names."""
        return cls.read(sys.argv[1])

    @property
    def database(self) -> Path:
        """The database of the harness when it does the job."""
        return Path(self.folder) / "harness.db"

    def harness(self, *more: str) -> tuple[list[str], dict[str, str]]:
        """Return the command with which the harness does the job, with options ``more``, and its environment variables.

        The cache is empty at the start.
        """
        folder = Path(self.folder)
        command = [sys.executable, "-m", "harness.run", "--study", STUDY, "--seed", str(self.seed)]
        command += ["--weights", self.weights, "--storage", f"sqlite:///{self.database}"]
        command += ["--out", str(folder / "harness.html"), *more]
        return command, {"HARNESS_CACHE": str(folder / "cache")}

    def seconds_left(self) -> float:
        """Return the seconds of the budget that are left."""
        return self.budget - (time.monotonic() - self.started)

    def choices(self) -> dict[str, Sequence[str]]:
        """Return the categorical parameters and their choices."""
        return {"strategy": self.space["strategies"], "optimizer": self.space["optimizer"]}

    def ranges(self) -> dict[str, tuple[float, float, bool]]:
        """Return the numerical parameters: (least, most, whether on a log scale). Integer ends mean integers."""
        space = self.space
        plain = {name: (*space[name], False) for name in ("frozen", "hidden_layers", "dropout")}
        widths = {f"width_{i}": (*space["head_width"], True) for i in range(1, space["hidden_layers"][1] + 1)}
        rates = {f"learning_rate_{kind}": (*space["learning_rate"][kind], True) for kind in space["strategies"]}
        return {**plain, **widths, **rates}


def strategy_of(drawn: Mapping[str, Any]) -> Strategy:
    """Return the strategy that a tuner drew, without the parameters that do not apply to it.

    The pooling is always the same, as in the harness for images under 64 pixels, whose last map is a single point.
    """
    kind = drawn["strategy"]
    frozen = int(drawn["frozen"]) if kind == "freeze_first_k" else depths(kind)[0]
    head = tuple(int(drawn[f"width_{i}"]) for i in range(1, drawn["hidden_layers"] + 1))
    dropout = drawn["dropout"] if head else 0.0
    return Strategy(
        kind, frozen, "average", head, dropout, drawn["optimizer"], drawn[f"learning_rate_{kind}"], image_size=32
    )
