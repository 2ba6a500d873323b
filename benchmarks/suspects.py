"""Plant wrong labels in sets of photos and measure how many of them are among the first label suspects.

    python -m benchmarks.suspects --photos FOLDER

FOLDER holds the sets of ``SETS``, unpacked. In each, 3 % of the labels of the training and validation set change to
another class, drawn with each of the seeds. Precision and recall count the planted labels among as many suspects,
those of the highest score; other wrong labels that the sets may have count as false. Then a linear probe is trained
with the planted labels, without these suspects, and with the right labels, and tested on the held-out test set. Writes
benchmarks/results/suspects.json.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.record import machine, write
from harness.backbones.activation_cache import FeatureCache
from harness.backbones.backbone import Backbone
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.paths import user_cache
from harness.core.spec import DatasetSpec, DataSpec
from harness.data.dataset import Images, draw
from harness.data.duplicates import kept_together
from harness.data.inspection import look
from harness.review.searched_images import SearchedImages
from harness.review.suspects import label_suspects

SETS = {
    "grocery": "grocery", "ants_bees": "ants_bees", "clothing": "clothing", "scene15": "scene15",
    "chest_xray": "chest_xray/all",
}  # fmt: skip
BACKBONE = BackboneSpec.load("efficientnet_lite0")
IMAGE_SIZE = 160
SHARE = 0.03
SEEDS = (0, 1, 2)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    folder = parser.parse_args().photos
    cache = FeatureCache(user_cache() / "features", Backbone.of(BACKBONE, load_weights(BACKBONE)), max_bytes=8 * 10**9)
    found = {}
    for name, where in SETS.items():
        found[name] = measure(DatasetSpec.load(str(folder / where), Path.cwd()), cache)
        print(name, found[name], flush=True)
    result = {"machine": machine(), "backbone": BACKBONE.name, "image_size": IMAGE_SIZE, "share": SHARE, "sets": found}
    write("suspects", result)


def measure(dataset: DatasetSpec, cache: FeatureCache) -> dict[str, Any]:
    """Return recall and accuracies of each seed, and what is known of the set."""
    drawn = draw(dataset, DataSpec(dataset=dataset.name), seed=0)
    split = drawn.load(IMAGE_SIZE)
    train, validation = averages(split.train, cache), averages(split.validation, cache)
    test, test_labels = averages(opened := split.test.open(), cache), opened.labels
    rows = np.concatenate([drawn.parts.train, drawn.parts.validation])
    sets = kept_together(drawn.listing, look(drawn.listing), rows)
    labels, n_train = drawn.listing.labels[rows], len(drawn.parts.train)
    features = np.concatenate([train, validation])
    planted = round(SHARE * len(rows))
    runs = []
    for seed in SEEDS:
        draws = np.random.default_rng(seed)
        wrong = draws.choice(len(rows), planted, replace=False)
        given = labels.copy()
        given[wrong] = (given[wrong] + draws.integers(1, split.n_classes, planted)) % split.n_classes
        known, judged = label_suspects(SearchedImages(rows, given, features, sets, n_train), split.n_classes)
        first = known[judged.ranked()[:planted]]
        listed = known[judged.suspect]
        hits = np.isin(wrong, first)
        suggested = dict(zip(known.tolist(), judged.suggested.tolist(), strict=True))
        kept = np.setdiff1d(np.arange(len(rows)), first)
        runs.append({
            "recall": float(hits.mean()),
            "right suggestion": float(np.mean([suggested[row] == labels[row] for row in wrong[hits]])),
            "listed": len(listed),
            "listed recall": float(np.isin(wrong, listed).mean()),
            "accuracy with the planted labels": accuracy(features, given, test, test_labels),
            "accuracy without the suspects": accuracy(features[kept], given[kept], test, test_labels),
        })  # fmt: skip
    right = accuracy(features, labels, test, test_labels)
    counts = {"images": len(rows), "classes": split.n_classes, "planted": planted, "test images": len(test)}
    return {**counts, "accuracy with the right labels": right, "runs": runs}


def averages(images: Images, cache: FeatureCache) -> NDArray[np.float32]:
    """Return the last activations (n, channels), averaged over the image."""
    values = cache.get(images, len(cache.backbone.stages), IMAGE_SIZE).values
    return np.asarray(values.mean(axis=(1, 2)), np.float32)


def accuracy(
    features: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], right: NDArray[np.int64]
) -> float:
    """Return the accuracy of a linear probe."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(features, labels)
    return float(np.mean(probe.predict(test) == right))


if __name__ == "__main__":
    main()
