"""What holds across modules: the order of imports, what stays light, what must not be in the tree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

COMMANDS = "commands"
DASHBOARDS = "dashboards"

# A room imports from itself and from the rooms its line names. The commands, on top, import from all rooms.
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "statistics": {"core"},
    "data": {"core"},
    "storage": {"core"},
    "backbones": {"core", "data"},
    "training": {"core", "data", "backbones"},
    "guidance": {"core", "data", "statistics", "backbones"},
    "strategy_search": {"core", "statistics", "storage", "backbones", "training", "guidance"},
    "rules": {"core", "data", "statistics", "backbones", "training", "guidance"},
    "analysis": {"core", "statistics", "storage", "guidance"},
    "deployment": {"core", "data", "statistics", "storage", "backbones", "training", "analysis"},
    "workers": {
        "core", "statistics", "data", "storage", "backbones", "training", "guidance", "strategy_search", "analysis",
    },
    "review": {"core", "data", "statistics", "storage", "backbones", "training", "analysis", "workers"},
    "confirmation": {
        "core", "statistics", "data", "storage", "backbones", "training", "guidance", "strategy_search", "analysis",
        "workers",
    },
    DASHBOARDS: {"core", "statistics", "storage", "guidance", "rules", "analysis", "review"},
}  # fmt: skip
ROOMS[COMMANDS] = set(ROOMS)

# What answers in a moment: `--help`, `--list`, `--dry-run`, the page. These rooms import no framework; of the others,
# these modules.
LIGHT_ROOMS = {"core", "statistics", "storage", "analysis", DASHBOARDS, COMMANDS}
LIGHT = {
    "harness.backbones.described",
    "harness.backbones.layer_costs",
    "harness.backbones.stages",
    "harness.guidance.advice",
    "harness.guidance.profile",
    "harness.rules.advised",
    "harness.rules.arms",
    "harness.rules.expectation",
    "harness.rules.league",
    "harness.rules.outcomes",
    "harness.rules.profile",
    "harness.rules.rules",
    "harness.rules.telling",
    "harness.strategy_search.pruning",
    "harness.strategy_search.runtime",
    "harness.training.counts",
    "harness.training.flops",
    "harness.training.predicted_costs",
}
HEAVY = {"keras", "tensorflow", "jax", "torch"}

# Private names of other packages that are used, each with the reason. None of them is Optuna's.
PRIVATE = {
    "_asdict": "documented, of SQLAlchemy's rows and of named tuples",
    "_mapping": "documented, of SQLAlchemy's rows",
    "_exit": "documented, of os",
    "_actions": "argparse: the options of a parser",
    "_parser": "ours: the parser of a command",
    "_ActionsContainer": "argparse: what parsers and their groups have in common",
    "_inheriting": "multiprocessing: its own test of a process that imports its parent's script",
    "_mmap": "NumPy: the map under an array, whose pages are dropped",
    "_inbound_nodes": "Keras: how layers are connected, which nothing else tells",
    "_keras_history": "Keras: the same",
    "_nodes_by_depth": "Keras: the same",
    "_value": "Keras: TensorFlow's variable under one of its own, which raw operations take",
    "keras.src.backend.common.global_state": "Keras: the counter of names, kept as it was while a network is described",
    "keras.src.utils.naming.to_snake_case": "Keras: the names of layers in its weight files",
}

RESTRICTED_UNPICKLER = "harness.backbones.torch_files"  # whose find_class refuses everything but four names
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_TEXT = {
    "the address of a package index": re.compile("pypi" + r"\.(org|io)|python" + "hosted", re.IGNORECASE),
    "a path of one machine": re.compile(r"(?<![\w.])/(work|root|home|Users)/"),
}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_ours(name: str) -> bool:
    return name.startswith(("harness.", "dashboards"))


def room(module: str) -> str:
    """Return the room that a module belongs to. What `python -m` runs is a command, in whichever folder it is."""
    package, *rest = module.split(".")
    if rest[-1:] == ["__main__"]:
        return COMMANDS
    if package == "dashboards":
        return DASHBOARDS
    return rest[0] if len(rest) > 0 and rest[0] in ROOMS and (ROOT / "harness" / rest[0]).is_dir() else COMMANDS


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return what the tests look at of a file's syntax tree, which takes longest to build."""
    looked_at = ast.Import | ast.ImportFrom | ast.Attribute | ast.Call
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, looked_at)]


def imported(path: Path) -> Iterator[str]:
    """Absolute names of what a file imports, wherever in the file: for ``from a import b`` both ``a`` and ``a.b``."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively: write the whole name"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_rooms_import_only_what_the_table_allows() -> None:
    wrong = []
    for path in sources("harness", "dashboards"):
        module = module_name(path)
        allowed = ROOMS[room(module)] | {room(module)}
        wrong += [(module, name) for name in imported(path) if is_ours(name) and room(name) not in allowed]
    assert wrong == []


def test_every_folder_is_a_room_and_the_table_has_no_circle() -> None:
    folders = {path.name for path in (ROOT / "harness").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders == set(ROOMS) - {COMMANDS, DASHBOARDS}
    left = dict(ROOMS)
    while left:
        free = [name for name, needs in left.items() if not needs & set(left) - {name}]
        assert free, f"rooms import each other: {sorted(left)}"
        for name in free:
            del left[name]


def test_modules_have_no_circle() -> None:
    modules = {module_name(path): path for path in sources("harness", "dashboards")}
    del modules["harness"]  # its names are imported when they are first used
    left = {name: {other for other in imported(path) if other in modules} - {name} for name, path in modules.items()}
    while left:
        free = [name for name, needs in left.items() if not needs & set(left)]
        assert free, f"modules import each other: {sorted(left)}"
        for name in free:
            del left[name]


def test_init_files_of_rooms_are_empty() -> None:
    inits = (ROOT / "harness").glob("*/__init__.py")
    assert [path for path in inits if path.read_text(encoding="utf-8").strip()] == []


def test_an_import_inside_a_function_counts(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def late():\n    from harness.storage import store\n")
    assert "storage" in map(room, imported(module))


def test_light_modules_import_no_machine_learning_framework() -> None:
    modules = [module_name(path) for path in sources("harness", "dashboards")]
    run_by_others = re.compile(r"__main__$|storage\.migrations\.(env|versions)")
    light = [name for name in modules if name in LIGHT or room(name) in LIGHT_ROOMS]
    light = [name for name in light if not run_by_others.search(name)]
    assert set(LIGHT) <= set(light)
    probe = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found = {HEAVY!r} & set(sys.modules)\n"
        "    assert not found, f'{name} imports {found}'\n"
    )
    outcome = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_nothing_is_unpickled() -> None:
    unpickling = set()
    for path in sources("harness", "dashboards", "benchmarks", "tests"):
        module = module_name(path)
        unpickling |= {(module, name) for name in imported(path) if name.partition(".")[0] in PICKLES}
        for node in nodes(path):
            if isinstance(node, ast.Call):
                assert getattr(node.func, "attr", "") != "read_pickle", f"{module}, line {node.lineno}"
                allowed = [keyword.value for keyword in node.keywords if keyword.arg == "allow_pickle"]
                refused = all(isinstance(value, ast.Constant) and value.value is False for value in allowed)
                assert refused, f"{module}, line {node.lineno}"
    assert unpickling == {(RESTRICTED_UNPICKLER, "pickle")}


def private_names(path: Path) -> Iterator[str]:
    """Private names that a file takes from other objects than its own, and private modules that it imports."""
    own_module = re.compile(r"(harness|dashboards|__future__)(\.|$)")
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") not in ("self", "cls"):
            yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            yield from (name.value for name in node.args[1:2] if isinstance(name, ast.Constant))
        if isinstance(node, ast.ImportFrom) and not own_module.match(node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def unlisted(path: Path) -> list[str]:
    """Return the private names of other packages that a file uses and `PRIVATE` does not list."""
    private = re.compile(r"(^|\.)_(?!_)|^keras\.src(\.|$)")
    return [name for name in private_names(path) if private.search(name) and name not in PRIVATE]


def test_private_names_of_other_packages_are_not_used() -> None:
    found = {module_name(path): unlisted(path) for path in sources("harness", "dashboards")}
    assert {module: names for module, names in found.items() if names} == {}


def test_each_exception_for_a_private_name_is_needed() -> None:
    assert set(PRIVATE) <= {name for path in sources("harness", "dashboards") for name in private_names(path)}


@pytest.mark.parametrize(
    "line",
    ["study._storage", "from optuna.storages import _CachedStorage", "from optuna.trial._frozen import x",
     "getattr(study, '_study_id')", "import keras.src.layers", "from keras.src.layers import Dense"],
)  # fmt: skip
def test_a_private_name_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(line)
    assert unlisted(tmp_path / "module.py") != []


def test_data_folders_hold_no_python() -> None:
    assert sources("backbones", "datasets", "studies") == []


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
