"""Where the cache is."""

import pwd
import tempfile
from pathlib import Path

import pytest

from harness.core.errors import StorageError
from harness.core.paths import temporary_folder, user_cache


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HARNESS_CACHE", "~/mine")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache() == tmp_path / "mine"
    monkeypatch.setenv("HARNESS_CACHE", "")
    assert user_cache().name == "transfer-harness" and tmp_path in user_cache().parents
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert user_cache() == tmp_path / "cache" / "transfer-harness"


@pytest.mark.parametrize("chosen", ["", "~/cache", "~nobody-of-this-name/cache"])
def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    def unknown(_: object) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    monkeypatch.setenv("HARNESS_CACHE", chosen)
    with pytest.raises(StorageError, match="is in a home folder that does not exist: set HARNESS_CACHE to another"):
        user_cache()


def test_a_machine_without_a_temporary_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert temporary_folder() == tempfile.gettempdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere/at/all"])
    with pytest.raises(StorageError, match="there is no folder for temporary files"):
        temporary_folder()
