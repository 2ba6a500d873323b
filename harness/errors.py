"""Show which images a trial gets wrong, and which labels may be wrong: `python -m harness.errors --study NAME`."""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dashboards.errors_page import Confusion, Gallery, Picture, render
from dashboards.page import save
from harness import command
from harness.analysis.mistakes import Mistakes
from harness.arguments import Parser
from harness.core.errors import DataError, SpecError, StorageError
from harness.core.framework import loading
from harness.core.paths import page_path, user_cache
from harness.core.spec import DatasetSpec, StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import Drawn, draw
from harness.data.listing import examples, printable
from harness.data.relabelling import KEEP
from harness.review.thumbnails import changed_since, jpeg, thumbnails
from harness.storage.outputs import check_output
from harness.storage.store import Store
from harness.storage.studies import StudyRow

if TYPE_CHECKING:  # heavy
    from harness.review.searched_images import SearchedImages
    from harness.training.problem import Problem

_MOST = 1000
"""Images of the cells of the confusion matrix."""
_EACH = 40
"""Of one cell."""
_GALLERY = 36
_OUTLIERS = 18
_SUSPECTS = 120
"""Label suspects on the page; the CSV lists all."""

_NOT_KEPT = (
    "mistakes are left out: no predictions of this study's trials are kept, as it was made before they were, or no "
    "trial is complete. Run it again under another --name, or with --fresh"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.errors",
        description="Write a page with the images that a trial gets wrong: confusion matrix to click, most confident "
        "mistakes, hardest images, label suspects, outliers. One HTML file with thumbnails of validation and training "
        "images; the test set stays sealed.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="the study's name in the database")
    parser.add_argument(
        "--trial", type=int, metavar="N", help="trial to look at (default: the complete one that validates best)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page to write (default: results/<study>.errors.html)"
    )
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="also list the label suspects there: edit its column decision (keep, drop or a class), then `harness run "
        "--relabel FILE`",
    )
    parser.add_argument(
        "--heat-maps",
        action="store_true",
        help="also show where the network looks (Grad-CAM) in the most confident mistakes; the trial is trained again",
    )
    parser.add_argument(
        "--test", action="store_true", help="the test images instead, once `harness confirm` has opened them; marked"
    )
    command.add_storage(parser)
    command.add_weights(parser)
    command.add_moved_data(parser)
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    page = arguments.out or page_path(f"{arguments.study}.errors")
    check_output(page, "page", arguments.storage)
    if arguments.csv is not None and arguments.csv.exists():
        raise StorageError(f"--csv {arguments.csv} exists and may hold your decisions: give the name of a new file")
    if arguments.test and arguments.heat_maps:
        raise SpecError("--heat-maps --test: a confirmation trains other networks, give only one of the two")
    store = Store(arguments.storage, must_exist=True)
    row = store.studies.get(arguments.study)
    spec = StudySpec.model_validate(row.spec)
    dataset = command.dataset_of(store, arguments.study, arguments.data)
    mistakes = Mistakes.read(store, arguments.study, arguments.trial, test=arguments.test)
    drawn, problem, why = None, None, ""
    try:
        drawn = _drawn(store, row, spec, dataset)
        problem, size = _problem(store, spec, drawn, row, arguments)
    except DataError as error:
        if arguments.csv is not None:
            raise
        why = f"label suspects and outliers are left out: {error}"
    view = _View(dataset, drawn, [why] if why else [])
    if mistakes is None:
        view.notes.append(_NOT_KEPT)
    else:
        view.add_mistakes(mistakes, row)
    if drawn is not None and problem is not None:
        with loading():
            from harness.review.searched_images import SearchedImages  # heavy: imports the training

        searched = SearchedImages.of(drawn, problem, size)
        found, agreement = _suspects(drawn, searched)
        view.add_searched(drawn, searched, found, agreement)
        if arguments.csv is not None:
            _write_csv(arguments.csv, found)
        if arguments.heat_maps and mistakes is not None:
            view.heat = _heat_maps(mistakes, store, problem, arguments)
    save(view.render(mistakes, arguments.study), page)
    for note in view.notes:
        command.say(note)
    print(f"page: {page}")


def _drawn(store: Store, row: StudyRow, spec: StudySpec, dataset: DatasetSpec) -> Drawn:
    """Draw the study's images again. Raises DataError where they are not the same."""
    drawn = draw(dataset, spec.data, spec.seed)
    stored = store.studies.split(row.name)
    for part, members in drawn.members().items():
        if part != "test" and [(Path(file).name, label) for file, label in members] != [
            (Path(file).name, label) for file, label in stored.get(part, [])
        ]:
            raise DataError(f"the {part} images of {dataset.name} here are not those that the study was begun with")
    return drawn


def _problem(
    store: Store, spec: StudySpec, drawn: Drawn, row: StudyRow, arguments: argparse.Namespace
) -> "tuple[Problem, int]":
    """Return the study on the backbone, and the image size, of its best frozen network: its activations are stored."""
    with loading():
        from harness.backbones.weights import load_all  # heavy: TensorFlow or JAX is loaded
        from harness.training.problem import Problem
        from harness.workers.work import check_same_images

    split = drawn.load(spec.search.image_size[-1])
    check_same_images(row, split)
    trials = store.trials.frame(spec.name)
    frozen = trials[trials["strategy"] == "feature_extraction"].dropna(subset=f"val_{spec.metric}")
    best = frozen.sort_values(f"val_{spec.metric}", ascending=False).head(1).to_dict("records")
    strategies = [Strategy.from_row(each) for each in best]
    backbone, size = (
        (strategies[0].backbone, strategies[0].image_size)
        if strategies
        else (spec.search.backbones[0].name, spec.search.advice_size)
    )
    declared = spec.search.backbone(backbone)
    weights = load_all([declared], arguments.weights)[backbone]
    return Problem.of(declared, spec, split, weights, user_cache() / "features"), size


@dataclass(frozen=True, slots=True)
class _Suspect:
    """An image, its class, the one that the probe suggests, and how surely its class is wrong."""

    position: int
    file: str
    label: str
    suggested: str
    score: float


def _suspects(drawn: Drawn, searched: "SearchedImages") -> tuple[list[_Suspect], float]:
    """Return the images whose label is probably wrong, the most suspicious first, and the share of all labels that the
    probe agrees with."""
    from harness.review.suspects import label_suspects  # scikit-learn, which takes a second to import

    names = drawn.listing.class_names
    known, judged = label_suspects(searched, len(names))
    found = [
        _Suspect(
            int(known[at]),
            drawn.listing.row_name(searched.rows[known[at]]),
            names[searched.labels[known[at]]],
            names[judged.suggested[at]],
            float(judged.score[at]),
        )
        for at in judged.ranked()
        if judged.suspect[at]
    ]
    return found, judged.agreement


def _write_csv(file: Path, suspects: Sequence[_Suspect]) -> None:
    try:
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("file", "label", "suggested", "score", "decision"))
            writer.writerows((each.file, each.label, each.suggested, f"{each.score:.6f}", KEEP) for each in suspects)
    except OSError as error:
        raise StorageError(f"--csv {file} cannot be written ({error.strerror}): give another file") from None
    command.say(
        f"{len(suspects):,} label suspects are listed in {file}: change keep to drop or to the right class where it is "
        f"wrong, then `harness run --relabel {file}`"
    )


def _heat_maps(
    mistakes: Mistakes, store: Store, frozen: "Problem", arguments: argparse.Namespace
) -> dict[int, NDArray[np.float32]]:
    """Return for each of the most confident mistakes, by its position, what speaks for the predicted class there."""
    with loading():
        from harness.backbones.weights import load_all  # heavy: TensorFlow or JAX is loaded
        from harness.review.heat_maps import grad_cam, trained_again
        from harness.training.problem import Problem

    number = int(mistakes.name.removeprefix("trial "))
    trials = store.trials.frame(arguments.study)
    (row,) = trials[trials["number"] == number].to_dict("records")
    strategy, spec = Strategy.from_row(row), frozen.spec
    problem = frozen
    if strategy.backbone != frozen.backbone.spec.name:
        declared = spec.search.backbone(strategy.backbone)
        found = load_all([declared], arguments.weights)[declared.name]
        problem = Problem.of(declared, spec, frozen.split, found, user_cache() / "features")
    command.say(f"trial {number}, {strategy.label()}: training it again for the heat maps")
    network = trained_again(strategy, row["seed"], problem)
    shown = mistakes.most_confident(_GALLERY)
    if len(shown) == 0:
        return {}
    pixels = np.asarray(problem.split.validation.pixels[shown])
    maps = grad_cam(network, problem, pixels, mistakes.predicted[shown])
    return dict(zip(shown.tolist(), maps, strict=True))


class _View:
    """What the page shows, collected piece by piece."""

    def __init__(self, dataset: DatasetSpec, drawn: Drawn | None, notes: list[str]) -> None:
        self.notes = notes
        self.heat: dict[int, NDArray[np.float32]] = {}
        self._dataset, self._drawn = dataset, drawn
        self._sources: list[str] = []
        self._about: list[tuple[str, str, str]] = []  # name, part, class
        self._number: dict[str, int] = {}
        self._galleries: list[Gallery] = []
        self._confusion: Confusion | None = None
        self._of_mistakes: dict[int, int] = {}  # number of a picture -> position

    def add_mistakes(self, mistakes: Mistakes, row: StudyRow) -> None:
        """Add the confusion matrix, the most confident mistakes and the hardest images."""
        names = mistakes.classes

        def shown(positions: NDArray[np.int64]) -> list[tuple[int, str]]:
            return [(self._add_mistake(mistakes, int(at)), said(int(at))) for at in positions]

        def said(at: int) -> str:
            sure = f"{mistakes.probability[at]:.0%}"
            return f"predicted {names[mistakes.predicted[at]]}, {sure}" if mistakes.wrong[at] else f"right, {sure}"

        cells: dict[tuple[int, int], list[tuple[int, str]]] = {}
        for at in mistakes.of_cells(_EACH, _MOST):
            cell = int(mistakes.true[at]), int(mistakes.predicted[at])
            cells.setdefault(cell, []).extend(shown(np.array([at])))
        self._confusion = Confusion(names, mistakes.counts(), cells)
        surest = mistakes.most_confident(_GALLERY)
        self._galleries.append(Gallery(
            "mistakes", "Most confident mistakes",
            f"Images that {mistakes.name} gets wrong, with the probability of the class that it predicts.",
            shown(surest),
        ))  # fmt: skip
        models = "seeds" if mistakes.part == "test" else "trials"
        self._galleries.append(Gallery(
            "hardest", "Hardest images",
            f"Images that at least half of {mistakes.n_models} {models} get wrong. Look at their labels first.",
            [
                (number, f"wrong in {mistakes.wrong_in[at]} of {mistakes.n_models}; {text}")
                for at in mistakes.hardest(_GALLERY).tolist()
                for number, text in shown(np.array([at]))
            ],
        ))  # fmt: skip
        absent = [name for name, count in zip(names, mistakes.counts().sum(axis=1), strict=True) if not count]
        if absent:
            self.notes.append(
                f"classes without an image in the {mistakes.part} set, whose rows are empty: {len(absent):,} "
                f"({examples(absent)})"
            )
        if self._dataset.file is not None and self._dataset.file.suffix.lower() != ".npz":
            changed = changed_since(mistakes.files, row.created_at)
            if changed:
                self.notes.append(
                    f"images written after the study began, which may not be what it saw: {len(changed):,} "
                    f"({examples(changed)})"
                )

    def add_searched(
        self, drawn: Drawn, searched: "SearchedImages", suspects: Sequence[_Suspect], agreement: float
    ) -> None:
        """Add the label suspects and the outliers of the training and validation set."""
        from harness.review.suspects import outlier_distances

        def number(position: int) -> int:
            part = "training" if position < searched.n_train else "validation"
            row, label = int(searched.rows[position]), drawn.listing.class_names[searched.labels[position]]
            return self._add(self._source(row), drawn.listing.row_name(row), part, label)

        self._galleries.append(Gallery(
            "suspects", "Label suspects",
            "Training and validation images whose label is improbable to a linear probe that was trained without them, "
            f"the most suspicious first: {len(suspects):,}, of which {min(len(suspects), _SUSPECTS)} are shown. The "
            f"probe agrees with {agreement:.0%} of all labels: the fewer, the more suspects are right all the same. "
            "--csv lists all, to decide on each.",
            [(number(each.position), f"looks like {each.suggested}") for each in suspects[:_SUSPECTS]],
        ))  # fmt: skip
        far = outlier_distances(searched)
        self._galleries.append(Gallery(
            "outliers", "Outliers",
            "Images that are least like the five training images nearest to them, in the activations of a frozen "
            "network.",
            [(number(at), f"{far[at]:.1f} times the usual distance") for at in np.argsort(-far)[:_OUTLIERS].tolist()],
        ))  # fmt: skip

    def render(self, mistakes: Mistakes | None, study: str) -> str:
        """Read the thumbnails and return the page."""
        small = thumbnails(self._sources, self._archive())
        gone = [name for (name, *_), thumb in zip(self._about, small, strict=True) if isinstance(thumb, str)]
        if gone:
            self.notes.append(f"images that cannot be read now: {len(gone):,} ({examples(gone)})")
        pictures = []
        for number, ((name, part, label), thumb) in enumerate(zip(self._about, small, strict=True)):
            heat = self.heat.get(self._of_mistakes.get(number, -1))
            over = None if heat is None or isinstance(thumb, str) else self._overlaid(thumb, heat)
            pictures.append(Picture(name, part, label, thumb if isinstance(thumb, str) else jpeg(thumb), over))
        summary = []
        if mistakes is not None:
            wrong, n = int(mistakes.wrong.sum()), len(mistakes.files)
            what = "held-out test" if mistakes.part == "test" else "validation"
            summary.append(
                f"{mistakes.name[:1].upper()}{mistakes.name[1:]} gets {wrong:,} of {n:,} {what} images wrong."
            )
        summary.append(
            "Thumbnails are cut out as the network sees the images. "
            + ("Test images are marked; a confirmation has opened them." if mistakes and mistakes.part == "test"
               else "No image of the held-out test set is on this page.")
        )  # fmt: skip
        title = f"Errors of study {study}"
        return render(title, summary, self.notes, self._confusion, self._galleries, pictures)

    def _overlaid(self, thumb: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
        from harness.review.heat_maps import overlaid

        return jpeg(overlaid(thumb, heat))

    def _archive(self) -> Path | None:
        if self._drawn is not None:
            return self._drawn.listing.home if self._drawn.listing.files is None else None
        file = self._dataset.file
        return file if file is not None and file.suffix.lower() == ".npz" else None

    def _add_mistake(self, mistakes: Mistakes, at: int) -> int:
        label = mistakes.classes[mistakes.true[at]]
        if self._drawn is None:
            number = self._add(mistakes.files[at], Path(mistakes.files[at]).name, mistakes.part, label)
        else:
            parts = self._drawn.parts
            row = int((parts.test if mistakes.part == "test" else parts.validation)[at])
            number = self._add(self._source(row), self._drawn.listing.row_name(row), mistakes.part, label)
        self._of_mistakes[number] = at
        return number

    def _source(self, row: int) -> str:
        assert self._drawn is not None
        return str(row) if self._drawn.listing.files is None else str(self._drawn.listing.path(row))

    def _add(self, source: str, name: str, part: str, label: str) -> int:
        if source not in self._number:
            self._number[source] = len(self._sources)
            self._sources.append(source)
            self._about.append((printable(name), part, label))
        return self._number[source]


if __name__ == "__main__":
    sys.exit(main())
