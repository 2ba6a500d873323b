"""TOML files, shipped with the harness or the user's, read into validated objects."""

import difflib
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from harness.core.errors import SpecError

Folder = Literal["studies", "datasets", "backbones"]
_Spec = TypeVar("_Spec", bound=BaseModel)


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
    path = folder / name
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise SpecError(f"there is no {what} file {str(path)!r}: give the path of a .toml file that exists")
    raise SpecError(
        f"unknown {what} {name!r}{nearest(name, known)} Known: {', '.join(known)}; or a path to a .toml file"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about the unknown ``name``: a question for the nearest known one, or a full stop."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.4)
    return f": did you mean {close[0]!r}?" if close else "."


def read_toml(path: Path) -> dict[str, Any]:
    """Return what the file declares. Raises SpecError if it cannot be read as TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not valid TOML: {error}") from None


def validated(cls: type[_Spec], declared: dict[str, Any], path: Path) -> _Spec:
    """Return ``declared``, from the file ``path``, as an object of ``cls``. Raises SpecError naming each bad value."""
    try:
        return cls.model_validate(declared)
    except ValidationError as error:
        problems = [_problem(cls, item) for item in error.errors()]
        raise SpecError(f"{path.name}: " + "; ".join(problems)) from None


def _problem(cls: type[BaseModel], item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        owner = cls
        for part in item["loc"][:-1]:
            annotation = owner.model_fields[str(part)].annotation
            owner = next(kind for kind in (annotation, *get_args(annotation)) if _is_model(kind))
        return f"unknown key {where!r}{nearest(str(item['loc'][-1]), owner.model_fields)}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] in ("missing", "value_error"):
        return f"{where}: {message}" if where else message
    return f"{where} = {item['input']!r}: {message}"


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
