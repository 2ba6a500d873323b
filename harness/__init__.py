"""Search transfer-learning strategies for the best accuracy at each training cost on your images."""

import os

__version__ = "0.1.0"

# TensorFlow and JAX read these on import: no start-up messages on stderr, and no worker that allocates the whole GPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
