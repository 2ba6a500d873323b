"""Checking what a TOML file declares, with errors that name the key, the value and the fix."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from harness.core.errors import SpecError

_Model = TypeVar("_Model", bound=BaseModel)

_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_FOLLOWS = "default_factory_not_called"
"""A default could not be made, because of another problem."""
_LONGEST = 80  # characters of a value that an error shows


def validated(model: type[_Model], declared: dict[str, Any], path: Path) -> _Model:
    """Return what the file ``path`` has ``declared`` as a ``model``. Raises SpecError, one line with all problems."""
    try:
        return model.model_validate(declared)
    except ValidationError as error:
        problems = [_problem(model, item) for item in error.errors() if item["type"] != _FOLLOWS]
        raise SpecError(f"{path.name}: " + "; ".join(problems)) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence on an unknown ``name``, with the ``known`` one that is most like it, if any."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.4)
    return f": did you mean {close[0]!r}?" if close else "."


def _problem(model: type[BaseModel], item: Any) -> str:
    where = ".".join(_printable(str(part)) for part in item["loc"])
    if item["type"] in _UNKNOWN_KEY:
        return f"unknown key {where!r}{nearest(str(item['loc'][-1]), _keys(model, item['loc'][:-1]))}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] in ("missing", "value_error"):
        return f"{where}: {message}" if where else message
    return f"{where} = {short(item['input'])}: {message}"


def _keys(section: Any, loc: Sequence[int | str]) -> dict[str, Any]:
    """Return the keys of the section at ``loc`` and their types; none where the keys are not fixed."""
    known = _fields(section)
    for part in loc:
        known = _fields(known.get(str(part)))
    return known


def _fields(section: Any) -> dict[str, Any]:
    for kind in (section, *get_args(section)):  # an optional section is a union
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return {name: field.annotation for name, field in kind.model_fields.items()}
        if isinstance(kind, type) and is_dataclass(kind):
            return {field.name: field.type for field in fields(kind)}
    return {}


def _printable(part: str) -> str:
    return part if part.isprintable() else repr(part)


def short(value: Any) -> str:
    """Return the value as an error shows it: in one line, of bounded length."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        return "a value with too many digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
