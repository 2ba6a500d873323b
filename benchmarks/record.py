"""Where benchmark results go, and what machine they were made on."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.arguments import shown_arguments
from harness.backbones import vgg16
from harness.core import environment

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor or GPU, versions, commit, date and the command line: what every claim carries."""
    found = environment.describe(vgg16.device())
    return {
        **found.as_dict(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": " ".join(["python", "-m", f"benchmarks.{_started()}", *shown_arguments(sys.argv[1:])]),
    }


def _started() -> str:
    """The name of the module that runs, of the package for its ``__main__``."""
    file = Path(sys.argv[0])
    return file.parent.name if file.stem == "__main__" else file.stem


def write(name: str, result: dict[str, Any]) -> None:
    """Keep ``result`` as ``benchmarks/results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"kept in benchmarks/results/{path.name}")
