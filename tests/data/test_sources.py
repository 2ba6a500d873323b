"""Listing folders, manifests and archives, including malformed and hostile ones."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.core.errors import DataError, SpecError
from harness.core.spec import DatasetSpec, DataSpec
from harness.data import folders
from harness.data.dataset import draw
from harness.data.inspection import look
from harness.data.listing import Listing
from harness.data.sources import read_listing
from tests.helpers.exported import LAYOUTS, export


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of six images per class (cat, dog)."""
    draws = np.random.default_rng(2)
    for name in ("cat", "dog"):
        for i in range(6):
            image(tmp_path / "set" / name / f"{i}.png", draws)
    return tmp_path / "set"


def image(path: Path, draws: np.random.Generator | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draws = draws or np.random.default_rng(abs(hash(path.name)) % 1000)
    Image.fromarray(draws.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)


def listed(path: Path) -> Listing:
    return read_listing(DatasetSpec(name="set", file=path))


def names(listing: Listing) -> list[tuple[str, str]]:
    assert listing.files is not None
    return [(file, listing.class_names[label]) for file, label in zip(listing.files, listing.labels, strict=True)]


class TestFolders:
    def test_a_folder_of_class_folders(self, root: Path) -> None:
        listing = listed(root)
        assert listing.class_names == ("cat", "dog") and np.bincount(listing.labels).tolist() == [6, 6]
        assert names(listing)[0] == ("cat/0.png", "cat") and set(listing.parts) == {"train"} and listing.notes == ()

    def test_numeric_class_names_are_sorted_as_numbers(self, tmp_path: Path) -> None:
        for name in ("10", "9", "2", "02"):
            image(tmp_path / "set" / name / "a.jpg")
        assert listed(tmp_path / "set").class_names == ("02", "2", "9", "10")

    def test_folders_within_a_class_belong_to_it(self, root: Path) -> None:
        image(root / "cat" / "patient 7" / "deep.JPEG")
        assert ("cat/patient 7/deep.JPEG", "cat") in names(listed(root))

    @pytest.mark.parametrize(("second", "meant"), [("test", "test"), ("val", "validation"), ("Testing", "test")])
    def test_parts_above_the_classes(self, tmp_path: Path, second: str, meant: str) -> None:
        for part in ("train", second):
            for name in ("cat", "dog"):
                image(tmp_path / "set" / part / name / "a.png")
        (tmp_path / "set" / "notes").mkdir()
        listing = listed(tmp_path / "set")
        assert sorted(zip(listing.parts.tolist(), names(listing), strict=True)) == sorted(
            (part, (f"{folder}/{name}/a.png", name))
            for folder, part in (("train", "train"), (second, meant))
            for name in ("cat", "dog")
        )
        assert "the folder 'notes' is not a part (train, val, test): left out" in listing.notes

    @pytest.mark.parametrize(
        ("train", "others"),
        [
            ("training_set", {"test_set": "test"}),
            ("Training Set", {"Validation-Set": "validation", "TEST SET": "test"}),
            ("trainset", {"dev": "validation", "testset": "test"}),
            ("train1", {"valid 1": "validation", "test1": "test"}),
            ("01_train", {"02_val": "validation", "03_holdout": "test"}),
            ("train2017", {"val2017": "validation"}),
            ("TRAIN_IMAGES", {"eval": "test"}),
            ("train/train", {"test/test": "test"}),
            ("training_set/Training_Set", {"test_set": "test"}),
        ],
    )
    def test_parts_are_recognized_under_many_names(self, tmp_path: Path, train: str, others: dict[str, str]) -> None:
        for part in (train, *others):
            for name in ("cat", "dog"):
                image(tmp_path / "set" / part / name / "a.png")
        listing = listed(tmp_path / "set")
        assert listing.class_names == ("cat", "dog") and listing.notes == ()
        assert {str(Path(file).parent.parent): part for (file, _), part in zip(
            names(listing), listing.parts.tolist(), strict=True
        )} == {train: "train", **others}  # fmt: skip

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            (["train/a.png", "test/a.png"], "'test', 'train': parts by their names, but they hold images and no"),
            (["train/a.png"], "'train': parts by their names, but they hold images and no class folders: put"),
            (["Training/a.png", "Testing/a.png", "more/a.png"], "'Testing', 'Training': parts by their names"),
            (["train/cat/a.png", "train/dog/a.png", "test/a.png"], "'test': parts by their names, but they hold"),
            (["train/cat/a.png", "train/dog/a.png", "test/test/a.png"], "'test': parts by their names, but they hold"),
            (["test/cat/a.png", "test/dog/a.png", "val/cat/a.png"], "'test', 'val': parts by their names, but there"),
            (["cat/a.png", "dog/a.png", "test/cat/a.png"], "'test': parts by their names, but there is no training"),
            (["seg_train/cat/a.png", "seg_test/cat/a.png"], "'seg_test', 'seg_train': parts or classes? Name parts"),
            (["x-train/x-train/a/a.png", "x-test/x-test/b.png"], "'x-test', 'x-train': parts or classes?"),
            (["train/train/cat/a.png", "train/test/cat/a.png"], "'train/test', 'train/train': parts or classes?"),
            (
                ["A/cat/a.png", "A/dog/a.png", "B/Cat/a.png", "B/dog/a.png"],
                "'A', 'B' hold folders of the same names ('cat', 'dog'): parts or classes? If they are parts, name",
            ),
            (["A/cat/a.png", "A/dog/a.png", "B/dog/a.png"], "'A', 'B' hold folders of the same names ('dog')"),
            (["train/1/cat/a.png", "train/1/dog/a.png", "train/2/cat/a.png", "train/2/dog/a.png"], "'train/1', 'train"),
            (
                ["cat/train/a.png", "cat/test/a.png", "dog/train/a.png", "dog/test/a.png"],
                "'cat', 'dog' hold folders of the same names ('test', 'train'): put the parts above the classes, as in",
            ),
        ],
    )
    def test_folders_that_may_be_parts_or_classes_are_refused(
        self, tmp_path: Path, files: list[str], message: str
    ) -> None:
        for file in files:
            image(tmp_path / "set" / file)
        with pytest.raises(DataError, match=re.escape(f"set ({tmp_path / 'set'}): {message}")) as refused:
            listed(tmp_path / "set")
        assert "\n" not in str(refused.value)

    def test_a_stray_image_does_not_turn_a_part_into_a_class(self, tmp_path: Path) -> None:
        for file in ("train/cat/a.png", "train/dog/a.png", "train/stray.png", "test/cat/a.png", "test/dog/a.png"):
            image(tmp_path / "set" / file)
        (tmp_path / "set" / "val").mkdir()
        listing = listed(tmp_path / "set")
        assert listing.class_names == ("cat", "dog") and listing.parts.tolist() == ["test"] * 2 + ["train"] * 2
        assert listing.notes == (
            "the folder 'val' holds no image: left out",
            "images in no class folder, left out: 1 ('train/stray.png')",
        )

    def test_two_folders_of_one_part_are_read_as_one(self, tmp_path: Path) -> None:
        for file in ("train1/cat/a.png", "train2/cat/b.png", "train2/dog/a.png"):
            image(tmp_path / "set" / file)
        listing = listed(tmp_path / "set")
        assert set(listing.parts) == {"train"} and len(listing) == 3
        assert listing.notes == ("the folders 'train1', 'train2' are read as one part, train",)

    @pytest.mark.parametrize("name", ["train", "test", "valid"])
    def test_a_class_named_like_a_part_is_a_class_and_noted(self, tmp_path: Path, name: str) -> None:
        for folder in (name, "plane", "ship"):
            image(tmp_path / "set" / folder / "a.png")
        listing = listed(tmp_path / "set")
        assert listing.class_names == tuple(sorted((name, "plane", "ship")))
        assert listing.notes[0].startswith(f"'{name}' is read as a class, like the folders next to it, which")

    def test_classes_with_equal_subfolders_are_classes(self, tmp_path: Path) -> None:
        for file in ("cat/images/a.png", "dog/images/a.png", "steam train/images/a.png"):
            image(tmp_path / "set" / file)
        assert len(listed(tmp_path / "set").class_names) == 3 and listed(tmp_path / "set").notes == ()
        for file in ("cat/images/p1/a.png", "cat/p1/a.png", "dog/p1/a.png", "dog/p2/a.png", "cat/p3/b.png"):
            image(tmp_path / "other" / file)
        assert (
            listed(tmp_path / "other")
            .notes[0]
            .startswith(
                "'cat', 'dog' hold folders of the same names ('p1') and are read as classes: if they are parts, name"
            )
        )

    def test_an_empty_class_is_left_out_and_noted(self, root: Path) -> None:
        (root / "bird").mkdir()
        listing = listed(root)
        assert listing.class_names == ("cat", "dog")
        assert listing.notes == ("the class folder 'bird' holds no image: left out",)

    def test_classes_that_differ_in_case_are_kept_apart_and_noted(self, root: Path) -> None:
        image(root / "Cat" / "a.png")
        if len(list(root.iterdir())) < 3:
            pytest.skip("this file system does not distinguish Cat and cat")
        listing = listed(root)
        assert listing.class_names == ("Cat", "cat", "dog")
        assert "the classes 'Cat', 'cat' differ in upper and lower case only" in listing.notes[0]

    def test_links_are_followed_once_and_loops_are_not(self, root: Path, tmp_path: Path) -> None:
        image(tmp_path / "elsewhere" / "bird" / "b.png")
        (root / "bird").symlink_to(tmp_path / "elsewhere" / "bird")
        (root / "cat" / "up").symlink_to(root)
        (root / "again").symlink_to(root)
        (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
        (root / "cat" / "gone.png").symlink_to(root / "nothing")
        os.mkfifo(root / "cat" / "pipe.png")
        listing = listed(root)
        assert len(listing) == 13 and listing.class_names == ("bird", "cat", "dog")
        for note in (
            "the link 'again' leads to a folder above it: not followed",
            "the link 'cat/up' leads to a folder above it: not followed",
            "'cat/gone.png' is a broken link: left out",
            "'cat/pipe.png' is not a file: left out",
        ):
            assert note in listing.notes
        assert any(note.startswith("'cat/self.png' ") for note in listing.notes)

    def test_a_folder_of_another_disk_with_the_same_number_is_no_loop(self, root: Path) -> None:
        here = root.stat()
        other = os.stat_result((here.st_mode, here.st_ino, here.st_dev + 1, *here[3:]))
        assert folders._identity(here) == folders._identity(root.stat()) != folders._identity(other)

    def test_names_with_newlines_other_scripts_and_invalid_unicode(self, root: Path) -> None:
        odd = ["new\nline.png", "котик.png", "[red]x[/red].png", "\x1b[31m.png", os.fsdecode(b"\xff\xfe.png")]
        for name in odd:
            image(root / "cat" / name)
        image(root / "line\nclass" / "a.png")
        image(root / os.fsdecode(b"caf\xe9") / "a.png")
        listing = listed(root)
        assert len(look(listing).readable()) == len(listing) == 12 + len(odd) + 2
        assert "line\nclass" in listing.class_names and "caf\\xe9" in listing.class_names
        stored = "".join([*listing.class_names, *(listing.row_name(row) for row in range(len(listing)))])
        assert stored.encode("utf-8")

    def test_files_not_named_like_images_or_in_no_class_are_noted(self, root: Path) -> None:
        (root / "cat" / "notes.txt").write_text("x")
        (root / "cat" / ".DS_Store").write_text("x")
        image(root / "stray.png")
        listing = listed(root)
        assert len(listing) == 12
        assert listing.notes == (
            "images in no class folder, left out: 1 ('stray.png')",
            "files not named like images, left out: 2 ('cat/.DS_Store', 'cat/notes.txt')",
        )

    def test_a_folder_without_two_classes_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "set" / "bird").mkdir(parents=True)
        with pytest.raises(DataError, match=r"has no labelled image: give two classes.*'bird' holds no image"):
            listed(tmp_path / "set")
        image(tmp_path / "set" / "cat" / "a.png")
        with pytest.raises(DataError, match=r"has one class only \('cat'\)"):
            listed(tmp_path / "set")


class TestManifests:
    def manifest(self, root: Path, text: str, name: str = "set.csv") -> Path:
        (root / name).write_text(text, encoding="utf-8")
        return root / name

    def test_columns_are_found_by_name_and_labels_read_as_text(self, root: Path) -> None:
        text = "label,filename,split,group\n007,cat/0.png,train,a\nNA,cat/1.png,val,b\n007,dog/0.png,Test,c\n"
        listing = listed(self.manifest(root, "\ufeff" + text))
        assert names(listing) == [("cat/0.png", "007"), ("cat/1.png", "NA"), ("dog/0.png", "007")]
        assert listing.parts.tolist() == ["train", "validation", "test"]
        assert listing.groups is not None and len(set(listing.groups)) == 3

    def test_a_file_without_a_group_is_a_group_of_its_own(self, root: Path) -> None:
        text = "filename,label,group\ncat/0.png,a,x\ncat/1.png,a,\ndog/0.png,b,\ndog/1.png,b,x\n"
        assert listed(self.manifest(root, text)).groups.tolist() == [0, 1, 2, 0]

    @pytest.mark.parametrize(
        "spellings",
        [
            ("p07", "p07 "),
            ("p07", " p07"),
            ("p07", "P07"),
            ("p07", "p07\u200b"),
            ("p 07", "p\u00a007", "P  07"),
            ("7", "07", "7.0", "7.", "+7"),
            ("0", "0.0", "00"),
            ("10", "10.0", "010.00"),
            ("Zoë", "Zoe\u0308", "ZOË"),
            ("ｐ０７", "p07"),
        ],
    )
    def test_spellings_of_a_group_are_merged(self, root: Path, spellings: tuple[str, ...]) -> None:
        rows = [f"{name}/{i}.png,{name},{group}" for name in ("cat", "dog") for i, group in enumerate(spellings)]
        listing = listed(self.manifest(root, "\n".join(["filename,label,group", *rows, "cat/5.png,cat,70"])))
        assert listing.groups.tolist() == [0] * len(rows) + [1]
        assert listing.notes == (
            "groups in more than one spelling (blanks, upper and lower case, zeros, Unicode), each read as one: 1 "
            f"({' = '.join(map(repr, spellings[:3]))}); if they are different groups, give them different names",
        )

    def test_different_groups_are_kept_apart_and_similar_ones_noted(self, root: Path) -> None:
        groups = ["p07", "p7", "p-7", "p70", "q7", "1-23", "12-3", "1.5", "-7", "7", "का", "कि"]
        files = [f"{name}/{i}.png,{name}" for name in ("cat", "dog") for i in range(6)]
        rows = [f"{file},{group}" for file, group in zip(files, groups, strict=True)]
        listing = listed(self.manifest(root, "\n".join(["filename,label,group", *rows])))
        assert listing.groups.tolist() == list(range(12))
        assert listing.notes == (
            "groups that differ in punctuation or zeros only, kept apart: 1 ('p07' = 'p7' = 'p-7'); if they are one "
            "group, which must not be on two sides of a split, spell them the same",
        )

    def test_no_patient_is_on_two_sides_under_any_spelling(self, root: Path) -> None:
        rows = []
        for name in ("cat", "dog"):
            for i in range(40):
                image(root / name / f"{i}.png", np.random.default_rng(i))
                rows.append(f"{name}/{i}.png,{name},{('p{:02}', 'p{:02} ', 'P{:02}', ' P{:02}')[i % 4].format(i // 4)}")
        file = self.manifest(root, "\n".join(["filename,label,Group", *rows]))
        drawn = draw(DatasetSpec(name="x", file=file), DataSpec(dataset="x"), 0)
        parts = [drawn.parts.train, drawn.parts.validation, drawn.parts.test]
        patients = [{(row % 40) // 4 for row in rows.tolist()} for rows in parts]
        assert sum(map(len, patients)) == len(set.union(*patients)) == 10

    def test_blank_groups_are_counted_unless_all_are_blank(self, root: Path) -> None:
        text = "filename,label,group\ncat/0.png,a,x\ncat/1.png,a,\ndog/0.png,b, \ndog/1.png,b,x\n"
        listing = listed(self.manifest(root, text))
        assert listing.groups.tolist() == [0, 1, 2, 0]
        assert listing.notes == ("rows without a group, each read as a group of its own: 2",)
        assert listed(self.manifest(root, text.replace("x", " "))).groups is None

    def test_columns_are_found_in_any_case_and_only_once(self, root: Path) -> None:
        text = "FileName,Label , GROUP,more\ncat/0.png,a,x,1\ndog/0.png,b,x,2\n"
        assert listed(self.manifest(root, text)).groups.tolist() == [0, 0]
        for twice in ("label, Label,filename", "label,label ,filename"):
            with pytest.raises(DataError, match=r"set\.csv has more than one column 'label': rename or remove"):
                listed(self.manifest(root, f"{twice}\na,a,cat/0.png\n"))

    def test_unicode_forms_of_a_label_are_merged_and_other_spellings_noted(self, root: Path) -> None:
        text = "filename,label\ncat/0.png,Zoë\ncat/1.png,Zoe\u0308\ndog/0.png,0\ndog/1.png,0.0\n"
        listing = listed(self.manifest(root, text))
        assert listing.class_names == ("0", "0.0", "Zoë")
        assert listing.notes[0].startswith(
            "labels in more than one spelling (blanks, Unicode, 1 and 1.0), each read as"
        )
        assert listing.notes[1].startswith("the classes '0', '0.0' differ in spelling only: they are kept apart; if")

    @pytest.mark.parametrize(
        "spellings",
        [("1,000", "1000"), ("1 000", "1'000"), ("1.000", "1000"), ("1e3", "1000"), ("1,000", "1e3", "1_000")],
    )
    def test_numbers_that_are_written_differently_are_noted(self, root: Path, spellings: tuple[str, ...]) -> None:
        files = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)]
        rows = [f'{file},"{word}"' for file, word in zip(files, [*spellings, "2,00", "7"], strict=False)]
        listing = listed(self.manifest(root, "\n".join(["filename,label", *rows])))
        assert len(listing.class_names) == len(spellings) + 2 and len(listing.notes) == 1
        found = ", ".join(map(repr, sorted(spellings)))
        assert listing.notes[0].startswith(f"the classes {found} differ in spelling only: they are kept apart")
        rows = [f'{file},{file[:3]},"{word}"' for file, word in zip(files, [*spellings, "2,00", "7"], strict=False)]
        listing = listed(self.manifest(root, "\n".join(["filename,label,group", *rows[1:], rows[0]])))
        assert len(listing.notes) == 1
        assert listing.notes[0].startswith("groups that differ in punctuation or zeros only, kept apart: 1 (")

    def test_a_parquet_manifest(self, root: Path) -> None:
        frame = pd.DataFrame({"filename": ["cat/0.png", "dog/0.png", "dog/1.png"], "label": [0, 1, 1]})
        for labels in (frame["label"], frame["label"].astype(str).astype("category")):
            frame.assign(label=labels).to_parquet(root / "set.parquet")
            assert names(listed(root / "set.parquet")) == [("cat/0.png", "0"), ("dog/0.png", "1"), ("dog/1.png", "1")]

    def test_the_articles_layout(self, root: Path) -> None:
        for part, n in (("train", 4), ("test", 2)):
            for i in range(n):
                image(root / "Images" / part / f"{i}.png")
        self.manifest(root, "filename,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n", "train.csv")
        self.manifest(root, "filename\n0.png\n1.png\n", "test.csv")
        listing = listed(root)
        assert names(listing)[0] == ("Images/train/0.png", "a") and len(look(listing).readable()) == 4
        assert listing.notes == (
            "test.csv has no column label: its 2 files are left out",
            "train.csv comes before class folders; images that no manifest here lists, left out: 12 ('cat/0.png', "
            "'cat/1.png', 'cat/2.png' and 9 more)",
        )
        self.manifest(root, "filename,label\n0.png,a\n1.png,b\n", "test.csv")
        listing = listed(root)
        assert names(listing)[4:] == [("Images/test/0.png", "a"), ("Images/test/1.png", "b")]
        assert listing.parts.tolist() == ["train"] * 4 + ["test"] * 2 and len(look(listing).readable()) == 6

    def test_a_folder_that_cannot_be_searched_does_not_stop_a_manifest(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def images_below(folder: Path) -> None:
            raise DataError(f"the folder {str(folder)!r} cannot be read (Permission denied)")

        monkeypatch.setattr("harness.data.manifests.images_below", images_below)
        self.manifest(root, "filename,label\ncat/0.png,a\ndog/0.png,b\n", "train.csv")
        assert listed(root).notes[0].startswith(f"the folder {str(root)!r} cannot be read (Permission denied): whether")

    def test_missing_files_are_unreadable_and_unlabelled_ones_noted(self, root: Path) -> None:
        text = "filename,label\ncat/0.png,a\ndog/0.png,b\ngone.png,b\ncat/1.png,\ncat/2.png\n"
        listing = listed(self.manifest(root, text))
        assert look(listing).errors.tolist() == ["", "", "there is no such file"]
        assert listing.notes == ("files without a label, left out: 2 ('cat/1.png', 'cat/2.png')",)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("file,label\na,b\n", "has no column 'filename', only 'file', 'label': rename one or add it"),
            (
                "filename,label,split\na,b,tset\n",
                "split has 'tset': only train, validation (or val) and test",
            ),
            ("", "cannot be read as a table"),
            ('filename,label\n"a', "cannot be read as a table"),
            ("filename,label\na,b\n", "has one class only ('b')"),
        ],
    )
    def test_an_invalid_manifest_is_refused(self, root: Path, text: str, message: str) -> None:
        with pytest.raises(DataError, match=re.escape(message)):
            listed(self.manifest(root, text))

    def test_files_of_other_encodings_are_refused(self, root: Path) -> None:
        for name, content in (("latin.csv", b"filename,label\n\xe9,a\n"), ("broken.parquet", b"PAR1 not")):
            (root / name).write_bytes(content)
            with pytest.raises(DataError, match="cannot be read as a table"):
                listed(root / name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_an_archive_has_the_same_images(digits: DatasetSpec, tmp_path: Path, layout: str) -> None:
    data = DataSpec(dataset="x", train_size=60, validation_size=30, test_size=15)
    split = draw(DatasetSpec(name="x", file=export(digits.file, tmp_path / layout, layout)), data, 0).load(32)
    assert split.class_names == ("a", "b", "c")
    assert split.train.pixels.shape == (60, 32, 32) and isinstance(split.train.pixels, np.memmap)
    brightest = split.train.pixels.mean(axis=1).reshape(60, 4, 8).mean(axis=2)[:, :3].argmax(axis=1)
    assert np.mean(brightest == split.train.labels) > 0.9  # the bar has another place in each class
    assert len(split.test) == 15 and split.test.open().pixels.shape == (15, 32, 32)


def test_a_file_is_decoded_the_same_on_every_load(root: Path) -> None:
    dataset = DatasetSpec(name="x", file=root)
    first, again = (draw(dataset, DataSpec(dataset="x"), 0).load(32) for _ in range(2))
    assert first.train.digest() == again.train.digest() == first.train.key
    assert first.train.digest() != draw(dataset, DataSpec(dataset="x"), 0).load(48).train.digest()


def test_unreadable_files_are_left_out_of_every_part(root: Path) -> None:
    whole = (root / "cat" / "0.png").read_bytes()
    (root / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "0.png").write_text("these are words")
    drawn = draw(DatasetSpec(name="x", file=root), DataSpec(dataset="x"), 0)
    rows = np.concatenate([drawn.parts.train, drawn.parts.validation, drawn.parts.test])
    assert len(rows) == 10 and not {"cat/0.png", "dog/0.png"} & {drawn.listing.row_name(row) for row in rows}
    drawn.load(32)


def test_a_set_without_a_readable_file_is_refused(root: Path) -> None:
    for path in root.glob("*/*.png"):
        path.write_text("words")
    with pytest.raises(
        DataError, match=r"none of the 12 images of x can be read; the first, 'cat/0.png': not an image"
    ):
        draw(DatasetSpec(name="x", file=root), DataSpec(dataset="x"), 0)


def test_a_data_set_is_found_by_path_name_or_toml(root: Path, tmp_path: Path) -> None:
    assert DatasetSpec.load("set", tmp_path).file == root
    assert DatasetSpec.load("set", tmp_path).name == "set"
    (tmp_path / "own.toml").write_text('name = "own"\npath = "set"\n')
    assert DatasetSpec.load("own.toml", tmp_path).file == root
    assert DatasetSpec.load("cifar100", tmp_path).download == "keras:cifar100"
    assert DatasetSpec.load("tfds:oxford_iiit_pet", tmp_path).name == "oxford_iiit_pet"
    (tmp_path / "[b]x <i>").mkdir()
    assert DatasetSpec.load("[b]x <i>", tmp_path).name == "b-x-i"
    for name, message in (
        (
            "nowhere",
            rf"no file or folder 'nowhere' in {tmp_path}\. Give the path of your images, or the name of a data set",
        ),
        ("sett", r"no file or folder 'sett' in .*: did you mean 'set'\?"),
        ("set/catt", r"no file or folder 'set/catt' in .*: did you mean 'set/cat'\?"),
        (str(root / "dgo"), rf"no file or folder '{root}/dgo': did you mean '{root}/dog'\?"),
        ("mnits", r"did you mean 'mnist'\?"),
        ("new\nline", "cannot be stored with a study"),
        ("tfds:../up", "download"),
        ("keras:imdb", "keras.datasets has no images 'imdb', but mnist"),
        ("x" * 5000, "there is no file or folder 'x{200}' in"),
        ("", "the path of the images is empty: give a folder or file, or . for this folder$"),
        (" ", "the path of the images is empty"),
        (
            "https://u:s3cret@h/set.zip",
            r"^https://…: images are not read from a URL: download and unpack them, and give",
        ),
    ):
        with pytest.raises(SpecError, match=message):
            DatasetSpec.load(name, tmp_path)
    (tmp_path / "both.toml").write_text('name = "own"\npath = "set"\ndownload = "keras:mnist"\n')
    with pytest.raises(SpecError, match=r"give either file \(or path\) or download"):
        DatasetSpec.load("both.toml", tmp_path)
    (tmp_path / "LONG.TOML").write_text(f'name = "long"\nfile = "{"x" * 300}"\n')
    with pytest.raises(DataError, match=r"there is no file or folder '.*xxx': check the path of data set long"):
        read_listing(DatasetSpec.load("LONG.TOML", tmp_path))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv' is neither a file nor a folder: give one that holds images"):
        listed(tmp_path / "pipe.csv")
    (tmp_path / "words.txt").write_text("x")
    with pytest.raises(DataError, match=r"words\.txt' is not a data set: give a folder"):
        listed(tmp_path / "words.txt")
