"""Writing an ``.npz`` data set as files, in each layout that a user's images may have.

python -m tests.helpers.exported scene15.npz FOLDER --layout folders
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

LAYOUTS = ("folders", "manifest", "article")


def export(npz: Path, target: Path, layout: str, limit: int | None = None) -> Path:
    """Write the images as PNG below ``target`` and give what ``--data`` takes.

    ``folders``: class folders, below train/ and test/ where the set has parts. ``manifest``: one CSV with filename,
    label and maybe split. ``article``: train.csv, maybe test.csv, and Images/train, Images/test. At most ``limit``
    images of each class and part.
    """
    with np.load(npz, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
        names = [str(name) for name in arrays["class_names"]]
        split = [str(part) for part in arrays["split"]] if "split" in arrays.files else None
    rows: list[tuple[str, str, str]] = []
    written: dict[tuple[str, str], int] = {}
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        name, part = names[label], split[i] if split else ""
        written[name, part] = written.get((name, part), 0) + 1
        if limit is not None and written[name, part] > limit:
            continue
        folder = {"folders": Path(part) / name, "manifest": Path("files"), "article": Path("Images", part or "train")}
        file = target / folder[layout] / f"{i:06d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.reshape(image.shape[:2]) if image.shape[-1] == 1 else image).save(file)
        shown = file.name if layout == "article" else str(file.relative_to(target))
        rows.append((shown, name, part))
    if layout == "manifest":
        _write(target / "manifest.csv", [("filename", "label", "split"), *rows] if split else [r[:2] for r in rows])
        return target / "manifest.csv"
    if layout == "article":
        for part in sorted({part or "train" for _, _, part in rows}):
            _write(target / f"{part}.csv", [row[:2] for row in rows if (row[2] or "train") == part])
    return target


def _write(file: Path, rows: list[tuple[str, ...]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        if rows[0][0] != "filename":
            writer.writerow(("filename", "label"))
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="folders")
    parser.add_argument("--limit", type=int, help="images of each class and part, at most")
    given = parser.parse_args()
    print(export(given.npz, given.target, given.layout, given.limit))
