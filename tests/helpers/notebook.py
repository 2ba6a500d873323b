"""Run a notebook without Jupyter, and store what its cells show.

Renew the outputs of the shipped one: `python -m tests.helpers.notebook examples/own_images.ipynb`.
"""

import ast
import asyncio
import base64
import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from dashboards.images import _print, chromium

MOST_HTML = 20_000
"""Characters of a value's HTML that is stored as it is. More is stored as a picture."""


def run(notebook: dict[str, Any]) -> None:
    """Run the code cells in order, in the current folder, and store the output of each in it.

    As in a kernel, an event loop is running, and no file is the main module. Standard error is not stored.
    """

    async def cells() -> None:
        names: dict[str, Any] = {"__name__": "__main__"}
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, cell in enumerate(code, 1):
            cell["execution_count"], cell["outputs"] = number, _outputs("".join(cell["source"]), names, number)

    asyncio.run(cells())


def _outputs(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Run a cell and return what it printed and the value of the expression that it ends with."""
    parsed, value = ast.parse(source), None
    last = parsed.body.pop() if isinstance(parsed.body[-1], ast.Expr) else None
    with redirect_stdout(StringIO()) as printed:
        exec(compile(parsed, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    found = []
    if text := printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    if value is not None:
        shown = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            shown["text/html"] = value._repr_html_().splitlines(keepends=True)
        found.append({"output_type": "execute_result", "execution_count": number, "data": shown, "metadata": {}})
    return found


def _shorten(notebook: dict[str, Any]) -> None:
    """Put a picture in the place of HTML of more than `MOST_HTML` characters."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            html = "".join(output.get("data", {}).get("text/html", ""))
            if len(html) > MOST_HTML:
                del output["data"]["text/html"]
                output["data"]["image/png"] = base64.b64encode(_picture(html)).decode()


def _picture(html: str) -> bytes:
    """Return a PNG of ``html`` as a browser shows it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        options = ["--window-size=920,750", "--hide-scrollbars"]
        _print(chromium(), f'<body style="font: 14px sans-serif">{html}</body>', "--screenshot", file, options)
        return file.read_bytes()


def main(path: str) -> None:
    """Run the notebook ``path`` in an empty folder and store its outputs in it."""
    file = Path(path).absolute()
    notebook = json.loads(file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            run(notebook)
        finally:
            os.chdir(before)
    _shorten(notebook)
    file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
