"""Finding TOML files: those that come with the harness, and the user's."""

import os
from importlib import resources
from pathlib import Path
from typing import Literal

from harness.core.errors import SpecError
from harness.core.paths import expand
from harness.core.validation import nearest

Folder = Literal["studies", "datasets", "backbones", "benchmarks/league"]


def shipped(folder: Folder) -> dict[str, Path]:
    """Return the TOML files that come with the harness, by name."""
    return {path.stem: path for path in sorted(shipped_folder(folder).glob("*.toml"))}


def shipped_folder(folder: Folder) -> Path:
    """Return the folder of the files that come with the harness: next to the package in a checkout, else inside it."""
    roots = (Path(__file__).parents[2] / folder, Path(str(resources.files("harness"))) / "share" / folder)
    return next((root for root in roots if root.is_dir()), roots[0])


def find(what: str, name: str, kind: Folder, folder: Path) -> Path:
    """Return the path of the shipped file ``name``, or of the ``.toml`` file that it is relative to ``folder``.

    Raises:
        SpecError: If there is none, with the nearest name; ``what`` says of which kind it should be.
    """
    known = shipped(kind)
    if name in known:
        return known[name]
    path = folder / expand(name)
    if path.suffix.lower() == ".toml":
        if os.path.isfile(path):  # noqa: PTH113 - a name that is too long for a path is no error here
            return path
        raise SpecError(f"there is no {what} file {str(path)!r}: give the path of a .toml file that exists")
    raise SpecError(
        f"unknown {what} {name!r}{nearest(name, known)} Known: {', '.join(known)}; or a path to a .toml file"
    )
