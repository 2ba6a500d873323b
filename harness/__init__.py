"""Which way of reusing a pretrained network gives the best accuracy for the compute on your images."""

import os

__version__ = "0.1.0"

# Read by TensorFlow and JAX when they are imported, so they are set before anything of ours can do that: no start-up
# noise on stderr, and no worker that takes the whole GPU for itself.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
