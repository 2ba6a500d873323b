"""Search transfer-learning strategies for the best accuracy at each training cost on your images.

Examples:
    >>> import harness
    >>> study = harness.search("photos/", trials=30, time_limit="15m")
    >>> study.best, study.front, study.trials
    >>> study.confirm(); study.export("model"); study.page("page.html")
    >>> harness.load("photos", storage="sqlite:///results/harness.db")

    ``harness.advise("photos/")`` says before any training what to begin with.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import Study as Study
    from harness.api import advise as advise
    from harness.api import load as load
    from harness.api import search as search
    from harness.core.errors import HarnessError as HarnessError

__version__ = "0.1.0"

_WHERE = {
    "HarnessError": "harness.core.errors",
    "Study": "harness.api",
    "advise": "harness.api",
    "load": "harness.api",
    "search": "harness.api",
}
"""The public names and their modules, which are imported when a name is first used: `import harness` is quick."""

__all__ = ["HarnessError", "Study", "advise", "load", "search"]

# `python -m harness.COMMAND` imports this before all else. From here on a signal ends it without a traceback.
if sys.argv[:1] == ["-m"] and any(given.removeprefix("-m").split(".")[0] == "harness" for given in sys.orig_argv):
    from harness.core.interrupts import exit_on_signals

    exit_on_signals()

# TensorFlow and JAX read these on import: no start-up messages on stderr, and no worker that allocates the whole GPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package. `harness.advise` is a function and a command: importing the command's module, as `harness advise`
    does, does not put it in the place of the function, as Python would."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
