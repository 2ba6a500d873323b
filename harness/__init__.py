"""Search transfer-learning strategies for the best accuracy at each training cost on your images."""

import os
import sys

__version__ = "0.1.0"

# `python -m harness.COMMAND` imports this before all else. From here on a signal ends it without a traceback.
if sys.argv[:1] == ["-m"] and any(given.removeprefix("-m").split(".")[0] == "harness" for given in sys.orig_argv):
    from harness.core.interrupts import exit_on_signals

    exit_on_signals()

# TensorFlow and JAX read these on import: no start-up messages on stderr, and no worker that allocates the whole GPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
