"""Writing the results of benchmarks, with the machine they were measured on."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.arguments import shown_arguments
from harness.backbones import devices
from harness.core import environment
from harness.rules.outcomes import lines

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Return processor or GPU, versions, commit, date and command line, which every result carries."""
    found = environment.describe(devices.device())
    return {
        **found.as_dict(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": " ".join(["python", "-m", f"benchmarks.{_started()}", *shown_arguments(sys.argv[1:])]),
    }


def _started() -> str:
    """Return the name of the running module, or of its package if it is a ``__main__``."""
    file = Path(sys.argv[0])
    return file.parent.name if file.stem == "__main__" else file.stem


def append_row(file: Path, row: dict[str, Any]) -> None:
    """Append ``row`` to a file of rows, one JSON object a line."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(row, separators=(",", ":")) + "\n")


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Return the rows of such a file, none where there is no file."""
    return lines(file) if file.exists() else []


def write(name: str, result: dict[str, Any]) -> None:
    """Write ``result`` to ``benchmarks/results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{path.name}")
