"""Loading Keras with its backend, TensorFlow or JAX: with settings that were checked, quietly, and fast."""

import gc
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.core.errors import HarnessError, SpecError
from harness.core.paths import temporary_folder

_BACKENDS = {"tensorflow": "transfer-harness", "jax": "transfer-harness[jax]"}
"""The backends that the harness trains with, and what installs each."""

_LOG = re.compile(
    rb"WARNING: All log messages before absl|To enable the following instructions:"
    rb"|[IWE]\d{4} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "
    rb"|INFO: Created TensorFlow Lite|fully_quantize: "
)
"""How lines begin that TensorFlow and XLA log, except fatal ones."""


@contextmanager
def loading() -> Iterator[None]:
    """Load Keras, and import what needs it in the block: quietly, and with garbage collection paused.

    The imported objects are then frozen, so that later collections skip them.

    Raises:
        SpecError: Keras is set to a backend that the harness cannot use or that is not installed, or has settings
            that it refuses.
    """
    check_backend()
    gc.disable()
    try:
        with silenced():
            _load_keras()
            yield
    finally:
        gc.enable()
        gc.freeze()


@contextmanager
def silenced() -> Iterator[None]:
    """Hide what TensorFlow logs to stderr in the block. All else that is written there is printed after it.

    If the block ends with a bug, which the log may explain, everything is printed.
    """
    crashed = True
    sys.stderr.flush()
    with tempfile.TemporaryFile(dir=temporary_folder()) as kept, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(kept.fileno(), 2)
        try:
            yield
            crashed = False
        except (HarnessError, KeyboardInterrupt):
            crashed = False
            raise
        finally:
            os.dup2(stderr.fileno(), 2)
            kept.seek(0)
            with suppress(OSError):  # as in `harness.core.streams`: what cannot be shown is dropped
                stderr.writelines(line for line in kept if crashed or not _LOG.match(line))
                stderr.flush()


def check_backend() -> None:
    """Raise SpecError if Keras would load another backend than `_BACKENDS`, or one that is not installed.

    Keras itself would fail with a traceback, or run for a while.
    """
    file = _keras_folder() / "keras.json"
    backend, where = os.environ.get("KERAS_BACKEND"), "the environment variable KERAS_BACKEND"
    if not backend:
        backend, where = str(_settings(file).get("backend", "tensorflow")), str(file)
    if backend not in _BACKENDS:
        raise SpecError(f"{where} is set to the backend {backend!r}: set KERAS_BACKEND to {' or '.join(_BACKENDS)}")
    if find_spec(backend) is None:
        raise SpecError(
            f"{where} is set to the backend {backend!r}, which is not installed: pip install '{_BACKENDS[backend]}', "
            "or set KERAS_BACKEND to another"
        )


def _keras_folder() -> Path:
    """Return the folder of Keras's settings, which Keras tells only once it has loaded the backend."""
    home = os.path.expanduser("~")  # noqa: PTH111 - without a home folder it stays "~", as in Keras
    return Path(os.environ.get("KERAS_HOME", f"{home if os.access(home, os.W_OK) else '/tmp'}/.keras")).expanduser()


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}  # as Keras does
    except OSError as error:
        raise SpecError(
            f"Keras's settings {file} cannot be read ({error.strerror}): change that, or set KERAS_HOME"
        ) from None
    if not isinstance(settings, dict):
        raise SpecError(f"Keras's settings {file} are no JSON object: correct or remove the file")
    return settings


def _load_keras() -> None:
    try:
        import keras  # noqa: F401
    except ValueError as error:
        if not str(error).startswith("Invalid `"):  # otherwise it is not about keras.json
            raise
        file = _keras_folder() / "keras.json"
        raise SpecError(f"Keras's settings {file} cannot be used ({error}): correct or remove the file") from None
