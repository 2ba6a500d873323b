"""Record what the rules of the league know of each place: benchmarks/league/profiles.jsonl.

    python -m benchmarks.league.profiles SET... [--seeds 1]

Each SET is a data set as for `benchmarks.league.record`, which also measures how similar it is to ImageNet and comes
first. Each place, a set with a number of training images under a seed, gets one line (see `harness.rules.probes`).
Places that are there are not measured again.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.league.record import COUNTS, SETS, available, backbone, drawn_for
from harness.backbones.devices import fast_precision, use_precision
from harness.core.spec import DatasetSpec
from harness.rules.arms import FROZEN_SIZES, RATE_FACTORS, probed_arms
from harness.rules.outcomes import PROFILES, lines
from harness.rules.probes import MOST_IMAGES, frozen_features, probe
from harness.rules.profile import Probed
from harness.workers.atlas_cells import nested


def record(dataset: DatasetSpec, seed: int) -> None:
    """Measure a set's places under a seed and append them to the file."""
    whole = drawn_for(dataset, seed)
    there = len(whole.parts.train)
    counts = sorted({n for asked in COUNTS if (n := available(asked, there)) is not None})
    known = {(row["dataset"], row["n_train"], row["seed"]) for row in (lines(PROFILES) if PROFILES.exists() else [])}
    if all((dataset.name, n, seed) in known for n in counts):
        return
    nest = nested(whole, MOST_IMAGES)
    images = nest.load(max(FROZEN_SIZES)).train
    features = {}
    for name in RATE_FACTORS:
        arms = [arm for arm in probed_arms() if arm.backbone == name]
        features |= frozen_features(images, backbone(name), arms)[0]
    own_size = nest.own_size()
    distance = json.loads(SETS.read_text(encoding="utf-8"))[dataset.name]["distance"]
    with PROFILES.open("a", encoding="utf-8") as file:
        for n in counts:
            labels = images.labels[:n]
            probed = Probed(
                n, len(whole.listing.class_names), round(float(np.bincount(labels).max() / n), 4), own_size, distance,
                {place: probe(values[:n], labels) for place, values in features.items()},
            )  # fmt: skip
            row = {"dataset": dataset.name, "seed": seed, **rounded(asdict(probed))}
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
    print(dataset.name, seed, counts, flush=True)


def rounded(value: object) -> object:
    """Return nested figures with five digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main(argv: Sequence[str] | None = None) -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="SET")
    parser.add_argument("--seeds", type=int, default=1, help="(default: %(default)s)")
    asked = parser.parse_args(argv)
    use_precision(fast_precision())
    for seed in range(asked.seeds):
        for name in asked.data:
            record(DatasetSpec.load(name, Path.cwd()), seed)


if __name__ == "__main__":
    main()
