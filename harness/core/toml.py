"""Reading and writing TOML files; the standard library only parses it."""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import SpecError


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, with or without a byte order mark.

    Raises:
        SpecError: It cannot be read, or is not TOML.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        _check(table)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8 text, as TOML is ({error}): save it as UTF-8") from None
    except RecursionError:
        raise SpecError(f"{path} is not valid TOML: {_TOO_DEEP}") from None
    except ValueError as error:  # also what the parser does not report itself, such as a number of 5,000 digits
        raise SpecError(f"{path} is not valid TOML: {error}") from None
    return table


_DEEPEST = 20
_TOO_DEEP = f"its values are nested more than {_DEEPEST} deep"


def _check(value: Any, depth: int = 0) -> None:
    """Raise ValueError for integers of more than 64 bits, which TOML does not have, and for values nested too deeply to
    be written as JSON."""
    if depth > _DEEPEST:
        raise ValueError(_TOO_DEEP)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer has more than 64 bits")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check(inner, depth + 1)


def as_toml(table: Mapping[str, Any]) -> str:
    """Return ``table`` as TOML: strings, numbers, booleans, tables, and lists of these. Values of None are left out."""
    return "\n".join([*_lines(table, ""), ""])


def _lines(table: Mapping[str, Any], name: str) -> list[str]:
    lines = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping | None)]
    for key, value in table.items():
        if isinstance(value, Mapping):  # tables come last
            inner = f"{name}.{_key(key)}" if name else _key(key)
            lines += ["", f"[{inner}]", *_lines(value, inner)]
    return lines


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_value(inner)}' for key, inner in value.items() if inner is not None)}}}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # JSON's strings, numbers and booleans are valid TOML, except one control character that TOML requires escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
