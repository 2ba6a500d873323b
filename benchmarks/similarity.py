"""Measure how similar the shared sets are to ImageNet, and how stable that is.

    python -m benchmarks.similarity [--reference]

``--reference`` first makes ``datasets/imagenet_reference.npz`` again from the 1,000 photos of ``imagenet_sample.zip``
in the shared folder; it holds features, no images. Then every shared set is measured as a study measures its own, and
again on many samples of 25 to 400 images. Writes the figures to benchmarks/results/similarity.json, and the table that
other sets are ranked among to datasets/similarity.json.
"""

import argparse
import hashlib
import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.stats import kendalltau

from benchmarks.record import machine, write
from harness.backbones.activation_cache import FeatureCache
from harness.backbones.backbone import Backbone
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.paths import user_cache
from harness.core.spec import DatasetSpec, DataSpec, shipped_folder
from harness.data.dataset import Images, draw
from harness.guidance.measure import block5_averages
from harness.statistics.similarity import SAMPLE, Reference, compare, cubic_distance, kernel_distance, load_reference

VGG16 = BackboneSpec.load("vgg16")

IMAGE_SIZE = 96
SIZES = (25, 50, 100, 200, 400)
RESAMPLES = 100
POOL = 800
SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).parent.parent.parent / "shared")) / "datasets"
SETS = {  # whether people would call a set similar: the expected side of the gap
    "ants_bees": True, "cifar10": True, "clothing": True, "scene15": True,
    "chest_xray": False, "mnist": False, "sign_digits": False,
}  # fmt: skip


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", action="store_true", help="make the reference again first")
    arguments = parser.parse_args()
    cache = FeatureCache(user_cache() / "features", Backbone.of(VGG16, load_weights(VGG16)), max_bytes=8 * 10**9)
    if arguments.reference:
        make_reference(cache)
    reference = load_reference()
    assert reference.weights == cache.backbone.weights.digest
    measured = {name: measure(name, reference, cache) for name in SETS}
    order = sorted(measured, key=lambda name: measured[name]["figures"]["distance"])
    table = {
        "what": "kernel distance to ImageNet and its standard error, and the distances of the literature",
        "made by": "python -m benchmarks.similarity",
        "sets": {name: measured[name]["figures"] for name in order},
    }
    (shipped_folder("datasets") / "similarity.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    result = {"machine": machine(), "image_size": IMAGE_SIZE, "sample": SAMPLE, "sets": {n: measured[n] for n in order}}
    result["reference against its other half"] = halves(reference)
    result["order"] = order
    result["stability"] = {str(n): stability(measured, n) for n in SIZES}
    result["gap"] = gap(measured)
    for name in order:
        print(f"{name:<12}", " ".join(f"{k} {v:.4g}" for k, v in measured[name]["figures"].items()))
    print(json.dumps({key: result[key] for key in ("stability", "gap", "reference against its other half")}, indent=1))
    write("similarity", result)


def make_reference(cache: FeatureCache) -> None:
    """Write the features of the photos in float16. The network's input layer scales them like any set's images."""
    archive_file = SHARED / "imagenet_sample.zip"
    with zipfile.ZipFile(archive_file) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        photos = [tf.io.decode_jpeg(archive.read(name), channels=3).numpy() for name in names]
    images = Images(np.stack(photos), np.arange(len(names)))
    provenance = {
        "what": "VGG16 block-5 averages of one photo of each ImageNet class",
        "photos": "imagenet-sample-images, 224x224 JPEG, one a class; the photos themselves are not here",
        "sha256 of imagenet_sample.zip": hashlib.sha256(archive_file.read_bytes()).hexdigest(),
        "made by": "python -m benchmarks.similarity --reference",
    }
    np.savez_compressed(
        shipped_folder("datasets") / "imagenet_reference.npz",
        features=block5_averages(images, cache, IMAGE_SIZE).astype(np.float16),
        image_size=np.int64(IMAGE_SIZE),
        weights=np.str_(cache.backbone.weights.digest),
        provenance=np.str_(json.dumps(provenance)),
    )


def measure(name: str, reference: Reference, cache: FeatureCache) -> dict[str, Any]:
    """Return the figures of a set as a study has them, and the spread of the distance over samples of each size."""
    dataset = DatasetSpec(name=name, file=SHARED / f"{name}.npz")
    drawn = draw(dataset, DataSpec(dataset=name), seed=0)
    own, pool = drawn.some(SAMPLE, IMAGE_SIZE), drawn.some(POOL, IMAGE_SIZE)
    features = block5_averages(pool, cache, IMAGE_SIZE)
    figures = asdict(compare(block5_averages(own, cache, IMAGE_SIZE), own.labels, reference))
    draws = np.random.default_rng(1)
    spread = {}
    for n in SIZES:
        if n > len(pool) // 2:  # samples that overlap more say little about the spread
            continue
        resampled = [features[draws.permutation(len(pool))[:n]] for _ in range(RESAMPLES)]
        found, errors = zip(*(kernel_distance(rows, reference.features) for rows in resampled), strict=True)
        cubic = [cubic_distance(rows, reference.features) for rows in resampled]
        spread[str(n)] = {
            "resamples": RESAMPLES,
            "mean": float(np.mean(found)),
            "standard deviation": float(np.std(found)),
            "mean standard error": float(np.mean(errors)),
            "distances": [round(value, 5) for value in found],
            "cubic": {"mean": float(np.mean(cubic)), "standard deviation": float(np.std(cubic))},
        }
    return {
        "expected similar": SETS[name],
        "images": len(drawn.parts.train),
        "pool": len(pool),
        "figures": figures,
        "spread": spread,
    }


def stability(measured: dict[str, dict[str, Any]], n: int) -> dict[str, Any]:
    """Return how often samples of ``n`` images give the same order of the sets, and the same two sides."""
    key = str(n)
    names = [name for name in measured if key in measured[name]["spread"]]
    true = [measured[name]["spread"][key]["mean"] for name in names]
    drawn = np.array([measured[name]["spread"][key]["distances"] for name in names]).T
    taus = [float(kendalltau(row, true).statistic) for row in drawn]
    similar = np.array([SETS[name] for name in names])
    apart = [bool(row[similar].max() < row[~similar].min()) for row in drawn]
    return {
        "sets": names,
        "resamples": len(drawn),
        "mean Kendall tau with the order of the means": float(np.mean(taus)),
        "share with exactly that order": float(np.mean([tau > 1 - 1e-9 for tau in taus])),
        "share with all similar sets nearer than all others": float(np.mean(apart)),
    }


def gap(measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the most distant of the sets expected to be similar, the nearest of the others, and the middle."""
    distances = {name: entry["figures"]["distance"] for name, entry in measured.items()}
    last = max((name for name in SETS if SETS[name]), key=distances.__getitem__)
    first = min((name for name in SETS if not SETS[name]), key=distances.__getitem__)
    middle = (distances[last] + distances[first]) / 2
    return {"last similar": [last, distances[last]], "first other": [first, distances[first]], "middle": middle}


def halves(reference: Reference) -> dict[str, float]:
    """Compare the reference with itself: the distance that a set exactly like it would get."""
    draws = np.random.default_rng(2)
    found = []
    for _ in range(20):
        order = draws.permutation(len(reference.features))
        one, other = np.array_split(reference.features[order], 2)
        found.append(kernel_distance(one, other)[0])
    return {"splits": len(found), "mean": float(np.mean(found)), "standard deviation": float(np.std(found))}


if __name__ == "__main__":
    main()
