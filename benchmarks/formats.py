"""Compare the formats of an export: size, time of one image and what becomes of the accuracy, for each backbone.

    python -m benchmarks.formats DATA [--image-size 96]

DATA is a data set as for `harness.run --data`. For VGG16 and EfficientNet-Lite0 a head is trained on the frozen network
(one trial), the model is exported in every format whose packages are installed, and the figures of its card go to
benchmarks/results/formats.json.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import harness
from benchmarks.record import machine, write
from harness import export
from harness.core.toml_files import shipped
from harness.deployment.formats import FORMATS
from harness.storage.store import Store

BACKBONES = ("vgg16", "efficientnet_lite0")


def study_file(backbone: str, folder: Path) -> Path:
    """Write the study `images` with one backbone, frozen, and one baseline to a file in ``folder`` and return it."""
    changed = {
        "backbones": f'["{backbone}"]',
        "strategies": '["feature_extraction"]',
        "optimizer": '["adam"]',
        "names": '["majority"]',
    }
    lines = shipped("studies")["images"].read_text(encoding="utf-8").splitlines()
    keys = [line.partition("=")[0].strip() for line in lines]
    file = folder / f"{backbone}.toml"
    kept = [f"{key} = {changed[key]}" if key in changed else line for key, line in zip(keys, lines, strict=True)]
    file.write_text("\n".join(kept), encoding="utf-8")
    return file


def compare(data: str, backbone: str, image_size: int, folder: Path) -> dict[str, Any]:
    """Train and export one model; return how its files compare."""
    storage = f"sqlite:///{folder}/{backbone}.db"
    page = folder / f"{backbone}.html"
    study = harness.search(
        data, study=study_file(backbone, folder), trials=1, image_size=image_size, storage=storage, page=page
    )
    formats = [name for name, form in FORMATS.items() if not export.lacks(form)]
    assert study.best is not None
    source = export.of_study(Store(storage), study.name, None, None)
    found = asdict(export.write(folder / backbone, *source, formats, {}))
    return {"strategy": study.best["label"], "val_accuracy": study.best["val_accuracy"], **found}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--image-size", type=int, default=96, metavar="PIXELS")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: compare(asked.data, name, asked.image_size, Path(folder)) for name in BACKBONES}
    name = Path(asked.data).name  # where it lies is nobody's business
    command = f"python -m benchmarks.formats {name} --image-size {asked.image_size}"
    targets = {name: form.target for name, form in FORMATS.items()}
    write(
        "formats",
        {
            "machine": machine() | {"command": command},
            "data": Path(name).stem,
            "image_size": asked.image_size,
            "targets": targets,
            "backbones": found,
        },
    )


if __name__ == "__main__":
    main()
