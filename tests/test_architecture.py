"""What holds across modules: the order of imports, what stays light, what must not be in the tree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A module imports only from modules before it. Those in TOP may import anything.
ORDER = [
    "harness.core.errors",
    "harness.core.strategy",
    "harness.core.results",
    "harness.core.metrics",
    "harness.core.spec",
    "harness.core.paths",
    "harness.core.toml",
    "harness.core.environment",
    "harness.core.clock",
    "harness.statistics.pareto",
    "harness.statistics.comparison",
    "harness.confirmation.finalists",
    "harness.training.flops",
    "harness.search.runtime",
    "harness.search.pruning",
    "harness.statistics.similarity",
    "harness.statistics.transferability",
    "harness.data.listing",
    "harness.data.folders",
    "harness.data.manifests",
    "harness.data.archives",
    "harness.data.downloads",
    "harness.data.sources",
    "harness.data.decoding",
    "harness.data.inspection",
    "harness.data.duplicates",
    "harness.data.checks",
    "harness.data.split",
    "harness.data.dataset",
    "harness.data.augmentation",
    "harness.guidance.profile",
    "harness.guidance.advice",
    "harness.analysis.verdicts",
    "harness.backbones.weights",
    "harness.backbones.kernels",
    "harness.backbones.jax_kernels",
    "harness.backbones.vgg16",
    "harness.backbones.batches",
    "harness.backbones.activation_cache",
    "harness.guidance.measure",
    "harness.training.networks",
    "harness.deployment.exported_model",
    "harness.deployment.standalone",
    "harness.training.objective",
    "harness.training.tensorflow_step",
    "harness.training.jax_step",
    "harness.training.fit",
    "harness.training.problem",
    "harness.training.baselines",
    "harness.training.trial",
    "harness.storage.database",
    "harness.arguments",
    "harness.storage.outputs",
    "harness.storage.migrations",
    "harness.storage.store",
    "harness.storage.heartbeat",
    "harness.search.planned",
    "harness.search.search",
    "harness.search.copying",
    "harness.deployment.winner",
    "dashboards",
    "harness.deployment.model_card",
    "dashboards.terminal",
    "harness.workers.progress",
    "harness.workers.work",
    "harness.confirmation.test_opening",
    "harness.workers.ray_workers",
    "harness.workers.session",
    "harness.workers.atlas_cells",
]
TOP = {
    "harness.atlas",
    "harness.confirm",
    "harness.dashboard",
    "harness.export",
    "harness.predict",
    "harness.run",
    "harness.studies",
    "harness.worker",
    "harness.__main__",
}

# What answers in a moment: `--help`, `--list`, `--dry-run`, the page. The training modules are imported only to train.
LIGHT = [
    "harness.core.errors",
    "harness.core.strategy",
    "harness.core.results",
    "harness.core.metrics",
    "harness.core.spec",
    "harness.core.paths",
    "harness.statistics.pareto",
    "harness.training.flops",
    "harness.search.pruning",
    "harness.guidance.profile",
    "harness.guidance.advice",
    "harness.analysis.verdicts",
    "harness.atlas",
    "harness.storage.database",
    "harness.storage.migrations",
    "harness.storage.store",
    "dashboards.terminal",
    "harness.dashboard",
    "harness.export",
    "harness.predict",
    "harness.run",
    "harness.__main__",
]
HEAVY = {"keras", "tensorflow", "jax", "torch"}

PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_TEXT = {
    "the address of a package index": re.compile("pypi" + r"\.(org|io)|python" + "hosted", re.IGNORECASE),
    "a path of one machine": re.compile(r"(?<![\w.])/(work|root|home|Users)/"),
}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer(module: str) -> str:
    """The entry of ORDER or TOP that a module belongs to, or its own name where there is none."""
    return next((entry for entry in [*ORDER, *TOP] if f"{module}.".startswith(f"{entry}.")), module)


def imported(path: Path) -> Iterator[str]:
    """Absolute names of what a file imports, wherever in the file: for ``from a import b`` both ``a`` and ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively: write the whole name"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources("harness", "dashboards"), ids=module_name)
def test_imports_follow_the_order(path: Path) -> None:
    module = layer(module_name(path))
    if module in TOP or module == "harness":
        return
    assert module in ORDER, f"{module} has no place in ORDER: give it one"
    below = ORDER[ORDER.index(module) + 1 :] + sorted(TOP)
    assert [name for name in imported(path) if layer(name) in below] == []


def test_the_order_catches_an_import_from_below(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def late():\n    from harness import store\n")
    assert "harness.storage.store" in map(layer, imported(module))


def test_light_modules_import_no_machine_learning_framework() -> None:
    light = [module_name(path) for path in sources("harness", "dashboards")]
    light = [name for name in light if name in LIGHT or layer(name) == "dashboards"]
    probe = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found = {HEAVY!r} & set(sys.modules)\n"
        "    assert not found, f'{name} imports {found}'\n"
    )
    outcome = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("path", sources("harness", "dashboards", "benchmarks", "tests"), ids=module_name)
def test_nothing_is_unpickled(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imported(path)} & PICKLES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "attr", "") != "read_pickle", f"line {node.lineno}"
            allowed = [keyword.value for keyword in node.keywords if keyword.arg == "allow_pickle"]
            assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), node.lineno


def test_data_folders_hold_no_python() -> None:
    assert sources("datasets", "studies") == []


def test_the_tree_names_no_index_and_no_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: no list of the project's files")
    found = []
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if not path.is_file() or path.suffix in {".npz", ".png"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            found += [f"{name}:{number} holds {what}" for what, text in FORBIDDEN_TEXT.items() if text.search(line)]
    assert found == []
