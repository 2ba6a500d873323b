"""The notebook in examples/: it runs from top to bottom, and is stored with what its cells show, small."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.helpers.notebook import run

NOTEBOOK = ROOT / "examples" / "own_images.ipynb"


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return found


def shown(notebook: dict[str, Any]) -> str:
    """Return all text that the cells show."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return "\n".join("".join(output.get("text") or output["data"]["text/plain"]) for output in outputs)


def test_it_is_stored_with_what_its_cells_show_and_small() -> None:
    notebook = read()
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"])
    assert "test_accuracy" in json.dumps(notebook) and not re.search(r"(?<!\S)/\w+/", shown(notebook))
    assert NOTEBOOK.stat().st_size < 300_000


@pytest.mark.large
@pytest.mark.timeout(1800)
def test_it_runs(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_VGG16_WEIGHTS", str(shared / "weights" / "vgg16_imagenet_notop.weights.h5"))
    notebook = read()
    stored = [len(cell.get("outputs", [])) for cell in notebook["cells"]]
    run(notebook)
    text = shown(notebook)
    assert [len(cell.get("outputs", [])) for cell in notebook["cells"]] == stored
    assert "photos: 77 training images" in text and "Study 'photos', 5 of 5 trials" in text
    predicted = re.findall(r"^photos/(\w+)/00\.png (\w+) [01]\.\d\d$", text, re.MULTILINE)
    assert len(predicted) == 3 and sum(true == label for true, label in predicted) >= 2
    assert Path("model/README.md").is_file() and Path("page.html").is_file()
