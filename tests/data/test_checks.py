"""The checks of a data set: findings, messages, stored report, and the command that runs them."""

import hashlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from harness import __main__, run
from harness.core.spec import DatasetSpec, DataSpec, StudySpec
from harness.data.__main__ import main as data_main
from harness.data.checks import Report, check
from harness.data.dataset import draw
from harness.data.duplicates import near
from harness.data.inspection import look, thumbnails
from harness.data.sources import read_listing


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def photo(seed: int, size: int = 64) -> Image.Image:
    """Return a smooth image with edges, like a photo."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set with eight photos per class (cat, dog) in each of train and test."""
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "set" / part / name
            folder.mkdir(parents=True)
            for i in range(8):
                photo(100 * label + i + (50 if part == "test" else 0)).save(folder / f"{i}.png")
    return tmp_path / "set"


def reported(path: Path) -> Report:
    listing = read_listing(DatasetSpec(name="set", file=path))
    return check(listing, look(listing), listing.parts)


def test_a_clean_data_set_has_no_warnings(root: Path) -> None:
    report = reported(root)
    assert report.warnings() == []
    assert report.counts == {name: {"train": 8, "validation": 0, "test": 8, "unused": 0} for name in ("cat", "dog")}
    assert report.sizes == {"width": [64, 64, 64], "height": [64, 64, 64], "different sizes": 1}


def test_every_problem_is_found_and_the_other_images_stay(root: Path) -> None:
    cats, dogs = root / "train" / "cat", root / "train" / "dog"
    file = io.BytesIO()
    photo(1).save(file, "JPEG")
    (cats / "half.jpg").write_bytes(file.getvalue()[:-200])
    (cats / "words.jpg").write_text("these are words")
    (cats / "empty.png").touch()
    Image.new("RGB", (1, 1), (5, 5, 5)).save(cats / "pixel.png")
    Image.new("L", (12000, 9000), 90).save(dogs / "huge.jpg")
    (dogs / "copy.png").write_bytes((dogs / "3.png").read_bytes())
    (dogs / "a cat.png").write_bytes((cats / "3.png").read_bytes())
    (root / "test" / "cat" / "seen.png").write_bytes((cats / "4.png").read_bytes())
    photo(5).save(root / "test" / "cat" / "nearly.jpg", quality=40)
    (root / "train" / "rare").mkdir()
    photo(777).save(root / "train" / "rare" / "only.png")
    report = reported(root)
    assert [name for name, _ in report.unreadable] == [
        f"train/cat/{name}" for name in ("empty.png", "half.jpg", "words.jpg")
    ]
    assert report.unreadable[0][1] == "it is empty" and "truncated" in report.unreadable[1][1]
    assert report.constant == ["train/cat/pixel.png", "train/dog/huge.jpg"] and report.tiny == ["train/cat/pixel.png"]
    assert sorted(report.exact) == [
        ["test/cat/seen.png", "train/cat/4.png"],
        ["train/cat/3.png", "train/dog/a cat.png"],
        ["train/dog/3.png", "train/dog/copy.png"],
    ]
    assert report.near == [["test/cat/nearly.jpg", "train/cat/5.png"]]
    assert report.across == [report.exact[0], report.near[0]]
    assert report.conflicts == [["train/cat/3.png", "train/dog/a cat.png"]]
    assert report.sizes["width"] == [1, 64, 12000] and report.images == 32 + 10
    warned = "\n".join(report.warnings())
    for words in (
        "files that cannot be read, left out: 3 ('train/cat/empty.png' (it is empty); 'train/cat/half.jpg'",
        "images in more than one part, exact or near copies: 2 ('test/cat/seen.png' = 'train/cat/4.png' and others)",
        "images under more than one class: 1 ('train/cat/3.png' = 'train/dog/a cat.png')",
        "exact copies of other images: 3",
        "constant images: 2 ('train/cat/pixel.png', 'train/dog/huge.jpg')",
        "images under 8 pixels high or wide: 1 ('train/cat/pixel.png')",
        "classes of fewer than 3 images, one for each part: 1 ('rare 1')",
        "the classes are unbalanced: 11 training images of 'dog', 1 of 'rare'",
    ):
        assert words in warned


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((40, 40)),
        lambda image: image.convert("L"),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    ],
    ids=["smaller", "grey", "darker"],
)
def test_near_duplicates_are_found(root: Path, change: object) -> None:
    change(photo(2)).save(root / "train" / "dog" / "copy.png")
    assert reported(root).near == [["train/cat/2.png", "train/dog/copy.png"]]


def test_many_copies_of_one_image_give_few_pairs(tmp_path: Path) -> None:
    base = np.asarray(photo(0).convert("L")).astype(int)
    images = np.stack([np.clip(base + i % 50, 0, 255) for i in range(1000)]).astype(np.uint8)
    np.savez(tmp_path / "same.npz", images=images, labels=np.arange(1000) % 2)
    listing = read_listing(DatasetSpec(name="same", file=tmp_path / "same.npz"))
    found = near(look(listing), np.arange(1000))
    assert len(found) <= 8 * 1000


def test_a_thumbnail_averages_areas() -> None:
    image = np.arange(48 * 32, dtype=np.float64).reshape(1, 48, 32) % 251
    wanted = image.reshape(16, 3, 16, 2).mean(axis=(1, 3))
    assert np.abs(thumbnails(image.astype(np.uint8))[0] - wanted).max() <= 0.51
    assert (thumbnails(np.full((2, 5, 7, 3), 9, np.uint8)) == 9).all()


def test_facts_are_cached_until_a_file_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = read_listing(DatasetSpec(name="set", file=root))
    first = look(listing)
    with monkeypatch.context() as patched:
        patched.setattr("harness.data.inspection.shrink", lambda *_, **__: pytest.fail("decoded again"))
        assert (look(listing).digests == first.digests).all()
    photo(999, 70).save(root / "train" / "cat" / "0.png")
    again = look(listing)
    assert (again.digests != first.digests).sum() == 1 and (again.sizes == 70).all(axis=1).sum() == 1


def test_a_study_stores_the_checks_of_its_own_parts(root: Path) -> None:
    drawn = draw(DatasetSpec(name="set", file=root), DataSpec(dataset="set", test_size=4), 0)
    report = drawn.report()
    totals = {part: sum(parts[part] for parts in report.counts.values()) for part in report.counts["cat"]}
    assert totals == {"train": 13, "validation": 3, "test": 4, "unused": 12}
    stored = report.as_dict(most=1)
    assert json.loads(json.dumps(stored)) == json.loads(json.dumps(stored, allow_nan=False))
    members = drawn.members()
    assert [len(members[part]) for part in ("train", "validation", "test")] == [13, 3, 4]
    for file, label, digest in members["train"]:
        assert Path(file).parent.name == label and hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] == digest


def test_the_command_prints_a_report(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train" / "cat" / "[red]\n.jpg").write_text("words")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert __main__.main(["data", "check", "set"]) == 0
    out = capsys.readouterr().out
    assert "set: 33 images, 2 classes" in out and "unreadable files, left out: 1" in out
    assert r"'train/cat/[red]\n.jpg': not an image in a supported format" in out
    assert "exact duplicates: none" in out and "width: smallest 64, median 64, largest 64" in out


def test_strict_refuses_unreadable_files_and_json_names_them(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data_main(["check", "set", "--strict"]) == 0
    (root / "train" / "cat" / "0.png").write_text("words")
    capsys.readouterr()
    assert data_main(["check", "set", "--strict", "--json"]) == 2
    output = capsys.readouterr()
    assert json.loads(output.out)["unreadable"][0][0] == "train/cat/0.png"
    assert output.err.startswith("error: 1 of 32 files of set cannot be read: 'train/cat/0.png' (not an image")


def test_a_long_table_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.arange(3000) % 1000
    assert data_main(["check", archive(labels)]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 70 and "'19'" in out and "'20'" not in out
    assert "and 980 more classes; --json lists all" in out
    assert data_main(["check", "set.npz", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert len(counts) == 1000 and counts["999"] == {"train": 3, "validation": 0, "test": 0, "unused": 0}


def table(name: str, rows: list[tuple[str, ...]], columns: str = "filename,label,split,group") -> str:
    """Write a manifest of ``rows``, which lack the filename, and a different photo for each."""
    for i in range(len(rows)):
        photo(3000 + i).save(f"{i}.png")
    lines = [columns, *(",".join((f"{i}.png", *row)) for i, row in enumerate(rows))]
    Path(name).write_text("\n".join(lines), encoding="utf-8")
    return name


def archive(labels: object, **arrays: object) -> str:
    labels = np.asarray(labels)
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 8, 8), dtype=np.uint8)
    np.savez("set.npz", images=images, labels=labels, **arrays)
    return "set.npz"


def folders(*names: str, words: bool = False) -> str:
    for i, name in enumerate(names):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("words") if words else photo(i).save(path)
    return "photos"


def with_folders(manifest: str, *names: str) -> str:
    """Write class folders of loose photos next to a manifest of others, and return their folder."""
    folders(*(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(12)))
    Path("photos", manifest).write_text("\n".join(["filename,label", *names]))
    return "photos"


def named_like_a_shipped_one() -> str:
    Path(folders(*(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(12)))).rename("mnist")
    return "mnist"


def lines(text: str, encoding: str = "utf-8", n: int = 12) -> str:
    """Write photos ``000.png`` and so on of two classes and a manifest with a line ``text`` for each; {} its number,
    {c} its class."""
    for i in range(n):
        photo(i).save(f"{i:03}.png")
    header, line = text.split("|")
    body = [line.replace("{}", f"{i:03}").replace("{c}", ("cat", "dog")[i % 2]) for i in range(n)]
    Path("a.csv").write_bytes("\r\n".join([header, *body]).encode(encoding))
    return "a.csv"


TWO = [("cat",), ("dog",)] * 10
_ODD = {
    "fine": (lambda: table("a.csv", TWO, "filename,label"), None, None),
    "fine groups": (
        lambda: table("a.csv", [(c, f"p{i // 2}") for i, (c,) in enumerate(TWO)], "filename,label,group"), None, None),
    "every group in train and test": (
        lambda: table("a.csv", [(c, "train" if i < 16 else "test", f"p{i % 4}") for i, (c,) in enumerate(TWO)]),
        "are of one group, but in the train and the test set", None,
    ),
    "one group in train and test under two spellings": (
        lambda: table("a.csv", [(c, *(("train", f"p{i}") if i else ("test", "P4 "))) for i, (c,) in enumerate(TWO)]),
        "'4.png' and '0.png' are of one group, but in the train and the test set", None,
    ),
    "one group for all": (
        lambda: table("a.csv", [(c, "train", "p") for c, in TWO]), "the groups of a cannot be split", None),
    "a group for each class": (
        lambda: table("a.csv", [(c, "train", c) for c, in TWO]), "the groups of a cannot be split", None),
    "no training rows": (
        lambda: table("a.csv", [(c, "test", "") for c, in TWO]), "has no training image that can be read", None),
    "a class in the test set only": (
        lambda: table("a.csv", [(c, "train", "") for c, in TWO] + [("owl", "test", "")] * 3),
        "no training image of class 'owl': its 3 images are in the test set: give it training images", None,
    ),
    "a class of one": (
        lambda: table("a.csv", [*TWO, ("owl",)], "filename,label"), None,
        "classes without an image in the test set, whose scores say nothing about them: 1 ('owl')",
    ),
    "a class of two": (
        lambda: table("a.csv", [*TWO, ("owl",), ("owl",)], "filename,label"), None,
        "classes without an image in the validation set, whose scores say nothing about them: 1 ('owl')",
    ),
    "one of two classes of one": (
        lambda: table("a.csv", [*TWO[::2], ("dog",)], "filename,label"), "has too few images to cut a test set", None),
    "a declared test set without a class": (
        lambda: table("a.csv", [(c, "train", "") for c, in TWO] + [("cat", "test", "")] * 3), None,
        "classes without an image in the test set, whose scores say nothing about them: 1 ('dog')",
    ),
    "one class": (lambda: table("a.csv", TWO[::2], "filename,label"), "has one class only ('cat')", None),
    "an unknown split": (lambda: table("a.csv", [("cat", "tset", "")]), "split has 'tset'", None),
    "no column": (lambda: table("a.csv", TWO, "filename,class"), "has no column 'label'", None),
    "a column twice": (
        lambda: table("a.csv", [(c, c) for c, in TWO], "filename,label,label"), "more than one column 'label'", None),
    "a comma too many": (
        lambda: table("a.csv", [*TWO, ("big, dog",)], "filename,label"), "line 22: 3 cells, but 2 columns", None),
    "semicolons and UTF-16": (lambda: lines("filename;label|{}.png;{c}", "utf-16"), None, None),
    "Latin-1": (lambda: lines("filename,label|{}.png,{c}é", "latin-1"), "line 2 is not UTF-8): save it as UTF-8", None),
    "Windows paths": (
        lambda: lines("filename,label|.\\{}.PNG,{c}"), None,
        "spelled differently in the manifest, read all the same: 12 ('.\\\\000.PNG' is '000.png' and others)",
    ),
    "names without suffix": (
        lambda: lines("filename,label|{},{c}"), None, "read all the same: 12 ('000' is '000.png' and others)"),
    "labels with blanks": (
        lambda: lines("filename,label|{}.png,{c}\n{}.png,{c} "), None,
        "labels in more than one spelling (blanks, Unicode, 1 and 1.0), each read as one class: 2 ('cat' = 'cat ' and",
    ),
    "no readable file": (
        lambda: folders("cat/a.png", "dog/a.png", words=True), "none of the 2 images of photos can be read", None),
    "one image a class": (
        lambda: folders("cat/a.png", "dog/a.png"), "has too few images to cut a test set from: 2 for 2 classes", None),
    "two images a class": (
        lambda: folders("cat/a.png", "dog/a.png", "cat/b.png", "dog/b.png"),
        "has too few images to cut a validation set from: 2 for 2 classes", None,
    ),
    "three images a class": (
        lambda: folders(*(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3))), None, None),
    "parts of loose images": (lambda: folders("train/a.png", "test/a.png"), "parts by their names", None),
    "no training folder": (lambda: folders("test/cat/a.png", "val/dog/a.png"), "there is no training part", None),
    "a hidden folder": (
        lambda: folders(".old/a.png", *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3))), None,
        "hidden folders, left out: 1 ('.old')",
    ),
    "train.csv next to class folders": (
        lambda: with_folders("train.csv", *(f"{name}/{i}.png,{name}" for name in ("cat", "dog") for i in range(3))),
        None, "train.csv comes before class folders; images that no manifest here lists, left out: 18 ('cat/10.png', ",
    ),
    "another train.csv next to class folders": (
        lambda: with_folders("train.csv", "a,b"),
        "; train.csv is read because it is there: to read the class folders next to it, move it away", None,
    ),
    "a folder named like a shipped data set": (named_like_a_shipped_one, None, None),
    "an archive of one group": (
        lambda: archive(np.arange(40) % 2, groups=np.zeros(40, int)), "the groups of set cannot be split", None),
    "an archive's class without an image": (
        lambda: archive(np.arange(40) % 2, class_names=np.array(["a", "b", "c"])),
        "no training image of class 'c': no image has its label 2", None,
    ),
    "an archive whose labels begin at 1": (
        lambda: archive(np.arange(40) % 2 + 1), "without class_names they must be 0 to 1", None),
    "an archive without training rows": (
        lambda: archive(np.arange(40) % 2, split=np.array(["val", "test"] * 20)), "has no training image", None),
    "more classes than half of the largest study": (
        lambda: archive(np.arange(4004) % 1001),
        "data.max_images = 2000 leaves 999 training images for the 1,001 classes of set: ask for 1,001 or more with "
        "--train-size (data.train_size)", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", _ODD)
def test_check_and_run_report_the_same(make: str, capsys: pytest.CaptureFixture[str]) -> None:
    write, refused, warning = _ODD[make]
    path = write()
    planned = run.main(["--data", path, "--dry-run"])
    error = capsys.readouterr().err
    assert data_main(["check", path]) == planned == (0 if refused is None else 2)
    output = capsys.readouterr()
    assert output.err == error
    if path == "mnist":
        assert error.startswith(f"'mnist' is read from {Path('mnist').absolute()}, not from the shipped data set")
        assert "mnist: 24 images, 2 classes" in output.out
    else:
        assert (refused or "") in error and error.count("\n") == (refused is not None)
    reported = output.out.partition("\nwarnings: ")[2]
    if refused is not None and output.out:  # without a listing there is no report
        assert f"  a study of this data set is refused: {error.removeprefix('error: ')}" in reported
    if refused is None:
        spec, dataset = StudySpec.load("images", {"data.dataset": str(Path(path).absolute())})
        warned = draw(dataset, spec.data, spec.seed).report().warnings()
        assert (warning or "") in reported and (warning is not None or reported == "none\n")
        assert all(any(line in other for other in warned) for line in [warning] if line)


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere", "there is no file or folder 'nowhere'"), ("set/test/cat/0.png", "is not a data set")],
)
def test_a_path_that_is_not_a_data_set_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], path: str, message: str
) -> None:
    assert data_main(["check", path]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ") and message in output.err and output.err.count("\n") == 1
    assert output.out == ""


def test_whether_mirrored_images_keep_their_class_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.guidance import mirroring

    given: list[Path | None] = []

    def measure(images: object, weights: Path | None) -> mirroring.Mirroring:
        given.append(weights)
        return mirroring.Mirroring(len(images), 0.9, 0.5, -0.5, -0.3)  # type: ignore[arg-type]

    monkeypatch.setattr(mirroring, "measure_mirroring", measure)
    draws = np.random.default_rng(0)
    np.savez(
        tmp_path / "set.npz", images=draws.integers(0, 256, (60, 16, 16)).astype(np.uint8), labels=np.arange(60) % 3
    )
    assert data_main(["check", str(tmp_path / "set.npz")]) == 0
    assert "mirrored" not in capsys.readouterr().out and given == []
    assert data_main(["check", str(tmp_path / "set.npz"), "--flip", "--weights", "vgg16=mine.h5"]) == 0
    assert "leave data.flip = false" in " ".join(capsys.readouterr().out.split())
    assert given == [Path("mine.h5")]
