"""What the backend computes on, how fast it is in which precision, and its tensors as NumPy arrays."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from harness.core import environment
from harness.core.paths import user_cache
from harness.core.spec import Precision

_COMPILED_BYTES = 2 * 10**9
"""What JAX may keep of what it compiles; it drops what was used longest ago."""


def device() -> str:
    """Name what trials run on: the GPU, or the processor and its cores."""
    if keras.backend.backend() == "jax":
        import jax

        first = jax.devices()[0]
        return str(first.device_kind) if first.platform == "gpu" else environment.cpu()
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    return environment.cpu()


def on_gpu() -> bool:
    """Whether the backend sees a GPU."""
    return device() != environment.cpu()


def images_at_once(image_size: int) -> int:
    """Return the batch size of a pass without gradients.

    On a processor it is small for large images: a map of VGG16's first block takes 13 MB at 224x224, in float32, and
    two are in memory at the same time. Training takes more than that on a GPU.
    """
    return 128 if on_gpu() else max(1, min(128, 128 * 96**2 // image_size**2))


def keep_compiled() -> None:
    """Let JAX keep what it compiles for a GPU, for later processes: VGG16's convolutions took it 24 s on an H200.

    Not for a processor: those of two machines that share the folder may differ.
    """
    if keras.backend.backend() == "jax" and on_gpu():
        import jax

        config: Any = jax.config
        config.update("jax_compilation_cache_dir", str(user_cache() / "compiled"))
        config.update("jax_compilation_cache_max_size", _COMPILED_BYTES)


def fast_precision() -> Precision:
    """Return what this machine trains fastest in: bfloat16 on a GPU, and where TensorFlow's processor multiplies it.

    JAX on a processor has no fast convolution in either.
    """
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return "bfloat16" if on_gpu() or (on_tensorflow and environment.multiplies_bfloat16()) else "float32"


def use_precision(precision: Precision) -> None:
    """Make ``precision``, which is not auto, Keras's policy in this process."""
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")


def as_numpy(tensor: Any) -> NDArray[Any]:
    """Return a backend tensor as a NumPy array, float32 where it was bfloat16."""
    # Keras's own convert_to_numpy asks for a copy by a keyword that TensorFlow's tensors do not take: NumPy warns.
    return np.array(np.asarray(ops.cast(tensor, "float32")))
