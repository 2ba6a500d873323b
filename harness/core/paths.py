"""Default places of results and caches. Relative paths are relative to the current folder."""

import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from harness.core.errors import StorageError

RESULTS = Path("results")
DEFAULT_STORAGE = f"sqlite:///{RESULTS.as_posix()}/harness.db"


def expand(name: str) -> str:
    """Return a path with the home folder in place of a leading ``~`` or ``~user``. Other text stays as it is.

    A shell replaces only what begins a word: not ``--data=~/photos``, and nothing in a file.
    """
    return os.path.expanduser(name)  # noqa: PTH111 - Path.expanduser raises for unknown users


def user_path(name: str | Path) -> Path:
    """Return the path that a user has written, see `expand`: the type of an option, and of a path in a file."""
    return Path(expand(str(name)))


UserPath = Annotated[Path, AfterValidator(user_path)]


def page_path(study_name: str) -> Path:
    """Return the path of the study's page: ``results/<slug>.html``.

    If the name is not a plain lower-case file name, the slug ends with a digest of the name. Then no two studies share
    a page, also on file systems that ignore case, and no name leads out of the folder.
    """
    slug = re.sub(r"[^a-z0-9._-]+", "-", study_name.lower()).strip(".-")[:60] or "study"
    if slug != study_name:
        slug = f"{slug}-{hashlib.sha256(study_name.encode()).hexdigest()[:8]}"
    return RESULTS / f"{slug}.html"


def user_cache() -> Path:
    """Return the cache folder; everything in it can be recreated.

    It is HARNESS_CACHE, else ``transfer-harness`` in the user's cache folder ($XDG_CACHE_HOME or ~/.cache, on macOS
    ~/Library/Caches).

    Raises:
        StorageError: the path begins with ``~``, and this user has no home folder.
    """
    platform_default = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    chosen = os.environ.get("HARNESS_CACHE")
    folder = chosen or f"{os.environ.get('XDG_CACHE_HOME') or platform_default}/transfer-harness"
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise StorageError(
            f"the cache folder {folder} is in a home folder that does not exist: set HARNESS_CACHE to another folder"
        ) from None


def temporary_folder() -> str:
    """Return the folder of temporary files. Raises StorageError where no folder is writable."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise StorageError(f"there is no folder for temporary files ({error}): set TMPDIR to one") from None


RECOMMENDATION = ".recommendation.toml"
"""The suffix of a recommendation, next to the study's page."""


def recommendation_path(page: Path) -> Path:
    """Return the path of the recommendation, next to the study's ``page``: ``results/<slug>.recommendation.toml``."""
    return page.with_suffix(RECOMMENDATION)
