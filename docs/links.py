"""Hooks of MkDocs: what pages link to outside docs/ is a part of the site, so that one link works there and on GitHub.

The README is the first page.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README and all files that are linked from it, from pages, and from added pages."""
    pages = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    waiting, seen = ["README.md", *pages], set(pages)
    while waiting:
        path = waiting.pop()
        if path not in seen and not path.startswith("docs/"):
            files.append(File.generated(config, _place(path), abs_src_path=str(ROOT / path)))
        seen.add(path)
        if path.endswith(".md"):
            waiting += [target for target in _targets(path) if target not in seen and (ROOT / target).is_file()]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to where their targets are on the site; a link to a folder becomes its text."""
    assert page.file.abs_src_path is not None
    folder = dirname(Path(page.file.abs_src_path).relative_to(ROOT).as_posix())

    def moved(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = normpath(join(folder, target))
        if (ROOT / path).is_dir():
            return text
        place = relpath(_place(path), dirname(page.file.src_uri) or ".")
        return f"[{text}]({place}{anchor or ''})" if (ROOT / path).is_file() else link[0]

    return _LINK.sub(moved, markdown)


def _targets(path: str) -> Iterator[str]:
    """Yield what a page links to, as paths in the repository."""
    for link in _LINK.finditer((ROOT / path).read_text(encoding="utf-8")):
        yield normpath(join(dirname(path), link[2]))


def _place(path: str) -> str:
    """Return where a file of the repository is among the site's sources."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")
