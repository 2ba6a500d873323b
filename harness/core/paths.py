"""Where results and caches go unless the user says otherwise. Relative paths are relative to the current folder."""

import hashlib
import os
import re
import sys
from pathlib import Path

RESULTS = Path("results")
DEFAULT_STORAGE = f"sqlite:///{RESULTS.as_posix()}/harness.db"


def page_path(study_name: str) -> Path:
    """The page of the study: ``results/<slug>.html``.

    A name that is not a plain file name already (upper case counts: some file systems ignore it) gets a digest of the
    name in its slug, so that no two studies share a page and no name leads out of the folder.
    """
    slug = re.sub(r"[^a-z0-9._-]+", "-", study_name.lower()).strip(".-")[:60] or "study"
    if slug != study_name:
        slug = f"{slug}-{hashlib.sha256(study_name.encode()).hexdigest()[:8]}"
    return RESULTS / f"{slug}.html"


def user_cache() -> Path:
    """The folder for what can be had again: HARNESS_CACHE, else ``transfer-harness`` among the user's caches
    ($XDG_CACHE_HOME, ~/.cache; on macOS ~/Library/Caches)."""
    if chosen := os.environ.get("HARNESS_CACHE"):
        return Path(chosen).expanduser()
    platform_default = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or platform_default).expanduser() / "transfer-harness"


def recommendation_path(page: Path) -> Path:
    """Where the recommendation goes, beside the study's ``page``: ``results/<slug>.recommendation.toml``."""
    return page.with_suffix(".recommendation.toml")
