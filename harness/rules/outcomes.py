"""The recorded outcomes of the league: what each arm reached at each place, and what is known of the place."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.strategy import Strategy
from harness.core.toml_files import shipped_folder
from harness.rules.profile import Probe, Probed

LEAGUE = shipped_folder("benchmarks/league")
ROWS = LEAGUE / "rows"
PROFILES = LEAGUE / "profiles.jsonl"
FIRST = 100
"""The number of training images at which every set is recorded."""


@dataclass(frozen=True, slots=True)
class Place:
    """A data set with a number of its training images, under a seed of split, order and training."""

    dataset: str
    n_train: int
    seed: int


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What arms reached at places.

    Attributes:
        places: Where they were trained.
        probed: What is known of each place.
        arms: What was trained, the same at every place.
        accuracy: (places, arms), on the validation images after the last epoch; NaN where it is not recorded.
        flops: (places, arms), of the whole training; NaN where it is not recorded.
        n_validation: Validation images of each place.
    """

    places: tuple[Place, ...]
    probed: tuple[Probed, ...]
    arms: tuple[Strategy, ...]
    accuracy: NDArray[np.float64]
    flops: NDArray[np.float64]
    n_validation: tuple[int, ...]

    @property
    def datasets(self) -> list[str]:
        """Return the names of the data sets, sorted."""
        return sorted({place.dataset for place in self.places})

    def rows(self, dataset: str) -> NDArray[np.int64]:
        """Return the rows of a data set's places."""
        return np.array([i for i, place in enumerate(self.places) if place.dataset == dataset], np.int64)

    def only(self, *datasets: str) -> "Outcomes":
        """Return the outcomes on these data sets."""
        return self._kept([i for i, place in enumerate(self.places) if place.dataset in datasets])

    @cached_property
    def complete(self) -> "Outcomes":
        """Return the outcomes at places where every arm is recorded, which alone can be compared."""
        return self._kept(np.flatnonzero(~np.isnan(self.accuracy).any(axis=1)).tolist())

    def _kept(self, kept: list[int]) -> "Outcomes":
        return replace(
            self,
            places=tuple(self.places[i] for i in kept),
            probed=tuple(self.probed[i] for i in kept),
            accuracy=self.accuracy[kept],
            flops=self.flops[kept],
            n_validation=tuple(self.n_validation[i] for i in kept),
        )

    def without(self, *datasets: str) -> "Outcomes":
        """Return the outcomes on all other data sets."""
        return self.only(*(name for name in self.datasets if name not in datasets))

    def behind(self) -> NDArray[np.float64]:
        """Return how far behind the best arm each is (arms,), as a share of the images; all sets count alike."""
        whole = self.complete
        regret = whole.accuracy.max(axis=1, keepdims=True) - whole.accuracy
        by_set = np.array([regret[whole.rows(name)].mean(axis=0) for name in whole.datasets])
        return np.asarray(by_set.mean(axis=0))

    @property
    def constant(self) -> Strategy:
        """Return the arm that is least behind."""
        return self.arms[int(self.behind().argmin())]

    def alike(self, probed: Probed, n: int) -> list[str]:
        """Return the ``n`` data sets that are most like the one that is known as ``probed``: in how similar they are to
        ImageNet, in the images of a class and in how well the best frozen features tell their classes."""
        there = np.array([_known(one) for one in self.probed])
        scale = np.where(there.std(axis=0) > 0, there.std(axis=0), 1.0)
        away = np.linalg.norm((there - _known(probed)) / scale, axis=1)
        nearest = {name: away[self.rows(name)].min() for name in self.datasets}
        return sorted(nearest, key=lambda name: nearest[name])[:n]


@cache
def recorded(rows: Path = ROWS, profiles: Path = PROFILES) -> Outcomes:
    """Return the recorded outcomes: of the arms that every set has with `FIRST` images, at the places whose profile is
    recorded."""
    found: dict[Place, dict[str, dict[str, Any]]] = {}
    for file in sorted(rows.glob("*.jsonl")):
        for row in lines(file):
            strategy = Strategy.from_row(row["strategy"]).place()
            found.setdefault(Place(row["dataset"], row["n_train"], row["seed"]), {})[strategy] = row
    known = {Place(row["dataset"], row["n_train"], row["seed"]): _probed(row) for row in lines(profiles)}
    first = [set(arms) for place, arms in found.items() if place.n_train == FIRST and place.seed == 0]
    common = set.intersection(*first)
    places = sorted(
        (place for place in found if place in known), key=lambda place: (place.dataset, place.n_train, place.seed)
    )
    some = next(arms for place, arms in found.items() if place.n_train == FIRST)
    names = [name for name in some if name in common]

    def table(value: Callable[[dict[str, Any]], float]) -> NDArray[np.float64]:
        rows = ((found[place].get(name) for name in names) for place in places)
        return np.array([[np.nan if row is None else value(row) for row in cells] for cells in rows])

    return Outcomes(
        tuple(places),
        tuple(known[place] for place in places),
        tuple(Strategy.from_row(some[name]["strategy"]) for name in names),
        table(_reached),
        table(lambda row: float(row["planned_flops"])),
        tuple(next(iter(found[place].values()))["n_validation"] for place in places),
    )


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _reached(row: dict[str, Any]) -> float:
    """Return the accuracy after the last epoch; that of the largest class where the training came to nothing."""
    return float(row["curve"][-1][2] if row["curve"] else row["majority"])


def _probed(row: dict[str, Any]) -> Probed:
    probes = {place: Probe(**values) for place, values in row["probes"].items()}
    fields = {name: row[name] for name in Probed.__slots__ if name != "probes"}
    return Probed(**fields, probes=probes)


def _known(probed: Probed) -> NDArray[np.float64]:
    best = max(probe.linear for probe in probed.probes.values())
    return np.array([probed.distance, np.log(probed.n_train / probed.classes), best])
