"""The documentation site: built strictly, complete, and without anything from the network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(config: Path, target: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", config, "--site-dir", target]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # as in the Makefile
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


def test_it_holds_the_readme_all_documents_and_the_python_api(site: Path) -> None:
    documents = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert documents <= {path.relative_to(site) for path in site.rglob("*.html")}
    assert "which way of reusing a pretrained network" in (site / "index.html").read_text()
    api = (site / "api.html").read_text()
    for name in ("search", "load", "Study", "Study.confirm", "Study.export", "HarnessError"):
        assert f'id="harness.{name}"' in api
    assert "max_trial_cost" in api and "Skip trials predicted to cost more" in api


def test_links_lead_to_files_outside_the_documents_too(site: Path) -> None:
    usage = (site / "usage.html").read_text()
    assert 'href="studies/mnist.toml"' in usage and (site / "studies" / "mnist.toml").is_file()
    assert 'href="usage.html#from-python"' in (site / "index.html").read_text()
    for page in site.rglob("*.html"):
        if page.name in ("404.html", "atlas.html"):
            continue
        for target in re.findall(r'<a [^>]*href="(?!\w+:|#)([^"#]+)', page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(site)} links to {target}"


def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//|url\([\"']?https?:|@import")
    for file in [*site.glob("*.html"), *site.rglob("*.css")]:
        assert not loaded.search(file.read_text()), file


def test_a_broken_link_is_an_error(site: Path, tmp_path: Path) -> None:
    for name in ("docs", "mkdocs.yml", "README.md", "harness"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    with (tmp_path / "docs" / "usage.md").open("a") as page:
        page.write("\n[gone](nowhere.md)\n")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0 and "nowhere.md" in done.stderr
