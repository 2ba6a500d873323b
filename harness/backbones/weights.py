"""A backbone's ImageNet weights: verified tensors and where they came from.

Missing weights are an error, never replaced by random ones. Where the digests are known (VGG16: of every tensor in
``vgg16_digests.json``; others: ``weights.digest`` in the backbone's file) no other values are accepted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.backbones.weight_sources import find
from harness.backbones.weight_tables import Tensors, digest, table_of
from harness.core.backbone import BackboneSpec


@dataclass(frozen=True)
class Weights:
    """Verified weights.

    Attributes:
        tensors: The tensors of each layer, in Keras's order.
        source: Where they came from, in words, and that they could not be compared where no digest is known.
        notes: Why each source before it failed.
        digest: One sha256 over the digests of all tensors, for cache keys and records.
    """

    tensors: Tensors
    source: str
    notes: tuple[str, ...]
    digest: str


def load_all(backbones: Iterable[BackboneSpec], paths: Mapping[str, Path]) -> dict[str, Weights]:
    """Return the weights of each backbone by its name, as `load_weights` finds them; ``paths`` are given files."""
    return {spec.name: load_weights(spec, paths.get(spec.name)) for spec in backbones}


def check_all(backbones: Iterable[BackboneSpec], paths: Mapping[str, Path]) -> None:
    """Raise what `load_all` would raise."""
    load_all(backbones, paths)


def load_weights(spec: BackboneSpec, path: Path | None = None) -> Weights:
    """Return a backbone's ImageNet weights from the first source that has them.

    The network is built to know its shapes, unless the digests of all its tensors are shipped.

    Args:
        spec: The backbone.
        path: A ``.weights.h5`` of Keras 3 or the legacy ``…_notop.h5``. By default the environment variable
            HARNESS_<NAME>_WEIGHTS, then the other sources, see `harness.backbones.weight_sources`.

    Raises:
        SpecError: If the network cannot be built.
        WeightsError: If the given file does not hold the backbone's weights, or no source has them.
        StorageError: If the cache folder cannot be written.
    """
    table = table_of(spec)
    tensors, source, notes = find(spec, table, path)
    found = digest(tensors)
    if spec.weights.digest is None and not all(part.sha256 for parts in table.values() for part in parts):
        source = f"{source} (of the right shapes; no digest is known to compare sha256 {found[:12]}… with)"
    return Weights(tensors, source, notes, found)
