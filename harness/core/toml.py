"""Writing TOML: the standard library only reads it."""

import json
from collections.abc import Mapping
from typing import Any


def as_toml(table: Mapping[str, Any]) -> str:
    """Return ``table`` as TOML: strings, numbers, booleans, lists of these, and tables. Values of None are left out."""
    return "\n".join([*_lines(table, ""), ""])


def _lines(table: Mapping[str, Any], name: str) -> list[str]:
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping | None)]
    for key, value in table.items():
        if isinstance(value, Mapping):  # tables come last
            inner = f"{name}.{key}" if name else key
            lines += ["", f"[{inner}]", *_lines(value, inner)]
    return lines


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    # JSON's strings, numbers and booleans are valid TOML, except one control character that TOML requires escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
