"""The package as others get it: what is in the wheel and the sdist, what the locks hold, what make repeats."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import __version__

ROOT = Path(__file__).parent.parent
LOCKS = ["requirements.txt", "requirements-dev.txt"]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder], cwd=ROOT, check=True)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def installed(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as installed from the wheel that is built from the sdist, all without network."""
    wheels, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("target")
    offline = ["--no-index", "--no-deps"]
    subprocess.run([*PIP, "wheel", *offline, "--no-build-isolation", "-w", wheels, sdist], check=True)
    subprocess.run([*PIP, "install", *offline, "--target", target, next(wheels.glob("*.whl"))], check=True)
    return target


def run_installed(installed: Path, cwd: Path, *command: str | Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, check=True, text=True, capture_output=True).stdout.strip()


def test_sdist_holds_sources_and_no_weights(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"harness/core/spec.py", "studies/mnist.toml", "datasets/mnist.npz", "pyproject.toml", "LICENSE"} <= set(
        names
    )
    assert not [name for name in names if name.endswith((".h5", ".keras", ".onnx", ".db"))]


@pytest.mark.large
def test_only_our_two_packages_become_importable(installed: Path) -> None:
    importable = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} - {"bin"}
    assert importable == {"harness", "dashboards"}


def test_wheel_holds_every_file_of_the_packages(installed: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "harness", "dashboards"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout: no list of files to compare with")
    assert [name for name in tracked.stdout.splitlines() if not (installed / name).is_file()] == []


def test_shipped_study_data_and_backbone_are_found_from_elsewhere(installed: Path, tmp_path: Path) -> None:
    probe = (
        "import sys; from harness.core.spec import StudySpec; from harness.core.backbone import BackboneSpec\n"
        "from harness.backbones.described import architecture_of\n"
        "assert architecture_of(BackboneSpec.load('resnet50')).stages and 'keras' not in sys.modules\n"
        "study, data = StudySpec.load('mnist'); print(data.file.resolve())"
    )
    found = Path(run_installed(installed, tmp_path, sys.executable, "-c", probe))
    assert found.is_file()
    assert found.is_relative_to(installed)


def test_console_command_lists_the_commands(installed: Path, tmp_path: Path) -> None:
    harness = installed / "bin" / "harness"
    assert run_installed(installed, tmp_path, harness, "--version") == f"harness {__version__}"
    assert {"run", "dashboard"} <= set(run_installed(installed, tmp_path, harness, "--help").split())


@pytest.mark.large
def test_a_wheel_in_a_fresh_environment(sdist: Path, tmp_path: Path) -> None:
    """First alone, where the version is told without any dependency, then with this environment's packages."""
    wheels, environment = tmp_path / "wheels", tmp_path / "environment"
    subprocess.run([*PIP, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", wheels, sdist], check=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python, harness = environment / "bin" / "python", environment / "bin" / "harness"
    install = [python, "-m", "pip", "--quiet", "install", "--no-index", "--no-deps", next(wheels.glob("*.whl"))]
    subprocess.run(install, check=True)

    def run(*command: str | Path) -> str:
        return subprocess.run(command, cwd=tmp_path, check=True, text=True, capture_output=True).stdout.strip()

    assert run(harness, "--version") == f"harness {__version__}"
    probe = "import harness; print(harness.__version__, harness.__file__)"
    version, file = run(python, "-c", probe).split()
    assert version == __version__ and Path(file).is_relative_to(environment)
    (here,) = {path for path in map(Path, sys.path) if path.name == "site-packages" and path.is_relative_to(sys.prefix)}
    (site,) = environment.glob("lib/*/site-packages")
    (site / "these.pth").write_text(f"{here}\n")
    assert run(harness, "run", "--version") == f"harness {__version__}"
    assert "mnist" in run(harness, "run", "--list")
    assert run(python, "-c", "import harness; print(harness.search.__module__)") == "harness.api"


def interpreter(version: str) -> str:
    """The path of a Python of this version, on the path or pyenv's."""
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    for found in (shutil.which(f"python{version}"), *of_pyenv):
        # A shim of pyenv is on the path whether or not its version is chosen.
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(found)
    pytest.skip(f"there is no Python {version} on the path or in ~/.pyenv")


@pytest.mark.large
@pytest.mark.timeout(1800)  # TensorFlow is downloaded and unpacked
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_runs_the_main_job(version: str, sdist: Path, shared: Path, tmp_path: Path) -> None:
    """With the locked requirements, unless it is this one, with which all other tests run."""
    if "HARNESS_EVERY_PYTHON" not in os.environ:  # two installations of TensorFlow take too long for each change
        pytest.skip("set HARNESS_EVERY_PYTHON=1 to install and run the main job under the other Pythons")
    if sys.version.startswith(f"{version}."):
        pytest.skip(f"this is Python {version}")
    subprocess.run([interpreter(version), "-m", "venv", tmp_path / "environment"], check=True)
    python = tmp_path / "environment" / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    done = subprocess.run(
        [*pip, "--require-hashes", "--requirement", ROOT / "requirements.txt"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "hash" not in done.stderr:
        pytest.skip(f"the requirements could not be installed: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", sdist], check=True)
    environment = os.environ | {
        "HARNESS_CACHE": str(tmp_path / "cache"),
        "HARNESS_VGG16_WEIGHTS": str(shared / "weights" / "vgg16_imagenet_notop.weights.h5"),
    }
    small = ["--trials", "2", "--train-size", "40", "--validation-size", "20", "--test-size", "20", "--epochs", "1"]
    done = subprocess.run(
        [tmp_path / "environment" / "bin" / "harness", "run", "--study", "mnist", *small],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and (tmp_path / "results" / "mnist.html").is_file(), done.stderr
    shutil.rmtree(tmp_path / "environment")  # 2 GB


def locked(name: str) -> dict[str, list[Requirement]]:
    """The requirements of a lock file by name, several where versions differ between Pythons."""
    requirements: dict[str, list[Requirement]] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / name).read_text()):
        requirement, *hashes = [part.strip() for part in block.split("\\\n")]
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), requirement
        parsed = Requirement(requirement)
        requirements.setdefault(canonicalize_name(parsed.name), []).append(parsed)
    return requirements


@pytest.mark.parametrize("name", LOCKS)
def test_lock_pins_one_version_with_hashes_and_no_address(name: str) -> None:
    for requirements in locked(name).values():
        for requirement in requirements:
            assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
            assert requirement.url is None


def test_dev_lock_extends_the_run_lock() -> None:
    """The same versions. Where a package is needed may be wider: on every system, not on Windows alone."""
    run, dev = ({name: {str(r.specifier) for r in found} for name, found in locked(lock).items()} for lock in LOCKS)
    assert {name: dev.get(name) for name in run} == run


def test_locks_satisfy_what_the_package_asks_for() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, extras = declared["project"], declared["project"]["optional-dependencies"]
    run, dev = (locked(name) for name in LOCKS)
    asked = [(line, run) for line in project["dependencies"] + declared["dependency-groups"]["build"]]
    asked += [(line, dev) for extra in ("postgres", "test", "dev") for line in extras[extra]]
    for line, lock in asked:
        wanted = Requirement(line)
        if wanted.name == project["name"]:
            continue
        pinned = lock.get(canonicalize_name(wanted.name), [])
        versions = [specifier.version for requirement in pinned for specifier in requirement.specifier]
        assert versions, f"{line} is not locked: make lock"
        assert all(wanted.specifier.contains(version) for version in versions), f"{line}, locked {versions}: make lock"


def test_every_import_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    used = ("jax", "litert", "mlflow", "onnx", "openvino", "ray", "tensorboard")
    lines = declared["dependencies"] + [line for extra in used for line in extras[extra]]
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    owners = packages_distributions()
    for path in [*ROOT.glob("harness/**/*.py"), *ROOT.glob("dashboards/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for module in {module.partition(".")[0] for module in modules}:
                if module in sys.stdlib_module_names or module in ("harness", "dashboards"):
                    continue
                owned = {canonicalize_name(owner) for owner in owners.get(module, [module])}
                assert owned & names, (
                    f"{path.relative_to(ROOT)} imports {module}, which pyproject.toml does not ask for"
                )


def test_the_image_is_built_of_all_that_the_wheel_holds() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {line.split("/")[1] for line in built["include"]} | {"pyproject.toml", "README.md", "LICENSE"}
    sent = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert sent == needed | {"requirements.txt"}
    text = (ROOT / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in line.split()}
    assert copied == sent
    (user,) = re.findall(r"^USER (\d+)$", text, re.MULTILINE)
    assert int(user) > 0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make sees of a checkout whose environment is up to date."""
    for name in ["Makefile", "pyproject.toml", *LOCKS]:
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (1_000_000_000,) * 2)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ["bin/python", "run.stamp", "dev.stamp"]:
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def make_plan(checkout: Path, target: str) -> str:
    """The commands that make would run."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # Not the flags of the make that may be running these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    plan = subprocess.run(
        ["make", "--dry-run", target], cwd=checkout, env=environment, check=True, text=True, capture_output=True
    )
    return plan.stdout


@pytest.mark.parametrize("target", ["run", "test", "lint"])
def test_make_installs_nothing_twice(checkout: Path, target: str) -> None:
    assert "install" not in make_plan(checkout, target)


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml"])
def test_make_installs_again_after_a_change(checkout: Path, changed: str) -> None:
    os.utime(checkout / changed, (4_000_000_000,) * 2)
    assert "--require-hashes" in make_plan(checkout, "run")


def test_make_run_is_the_documented_command(checkout: Path) -> None:
    assert make_plan(checkout, "run").split()[1:] == ["-m", "harness.run", "--study", "mnist", "--trials", "50"]
