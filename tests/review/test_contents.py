"""What the page of errors shows, from made-up predictions for images that are not there."""

import numpy as np

from harness.analysis.mistakes import Mistakes
from harness.review.contents import NOT_KEPT, Contents
from harness.review.study_images import StudyImages


def study(n: int, n_classes: int, part: str = "validation") -> tuple[StudyImages, Mistakes]:
    """Return a study's images, which are gone, and predictions for them. The last class has no image."""
    draws = np.random.default_rng(0)
    classes = tuple(f"class {label}" for label in range(n_classes))
    true, predicted = np.arange(n) % (n_classes - 1), draws.integers(n_classes, size=n)
    members = [(f"photos/{classes[label]}/{at}.png", classes[label], "0f") for at, label in enumerate(true)]
    files, right = tuple(file for file, *_ in members), true == predicted
    found = Mistakes("trial 1", classes, part, files, true, predicted, draws.random(n), np.where(right, 0, 2), 2)
    return StudyImages({"train": [], "validation": [], part: members}, None), found


def test_every_picture_is_of_its_image_and_shown_once() -> None:
    images, mistakes = study(60, 4)
    found = Contents.of("pets", images, mistakes, None, {}, ["a note"])
    assert found.confusion is not None and (found.confusion.counts == mistakes.counts()).all()
    files = [picture.file for picture in found.pictures]
    assert len(set(files)) == len(files) == 60 and {picture.part for picture in found.pictures} == {"validation"}
    for (true, predicted), shown in found.confusion.cells.items():
        for number, said in shown:
            picture = found.pictures[number]
            at = int(picture.file.rpartition("/")[2].removesuffix(".png"))
            assert picture.label == f"class {true}" and mistakes.predicted[at] == predicted
            assert said.startswith("right" if true == predicted else f"predicted class {predicted}, ")
    surest, hardest = found.galleries
    assert len(surest.pictures) == min(36, mistakes.wrong.sum()) and "wrong in 2 of 2" in hardest.pictures[0][1]


def test_what_is_missing_is_said() -> None:
    images, mistakes = study(60, 4)
    a_note, empty_class, gone = Contents.of("pets", images, mistakes, None, {}, ["a note"]).notes
    assert a_note == "a note"
    assert empty_class == "classes without an image in the validation set, whose rows are empty: 1 ('class 3')"
    assert gone.startswith("images that are gone or cannot be opened: 60 ('class 0/0.png', 'class 1/1.png', ")
    nothing = Contents.of("pets", images, None, None, {}, [])
    assert nothing.notes[0] == NOT_KEPT and nothing.confusion is None and list(nothing.galleries) == []


def test_test_images_are_named_as_such() -> None:
    images, mistakes = study(30, 4, "test")
    summary = Contents.of("pets", images, mistakes, None, {}, []).summary
    assert "of 30 held-out test images wrong" in summary[0] and "Test images are marked" in summary[1]
    images, mistakes = study(30, 4)
    assert (
        "No image of the held-out test set is on this page."
        in Contents.of("p", images, mistakes, None, {}, []).summary[1]
    )


def test_a_thousand_classes_are_bounded() -> None:
    images, mistakes = study(5000, 1000)
    found = Contents.of("pets", images, mistakes, None, {}, [])
    assert found.confusion is not None and found.confusion.counts.shape == (1000, 1000)
    assert len(found.pictures) <= 1000 + 2 * 36
