"""The model card of an export (Mitchell et al. 2019): what a model is, what it was made from, how good it is."""

import html
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis import formatting
from harness.core.calibration import Calibration
from harness.core.results import METRIC_NAMES, TrialResult
from harness.core.spec import DatasetSpec
from harness.data.dataset import Split
from harness.deployment.formats import FORMATS
from harness.deployment.performance import Comparison, Performance
from harness.deployment.winner import Winner
from harness.statistics.intervals import wilson_interval

_CODE = """import json, zipfile, keras
import numpy as np
from PIL import Image, ImageOps

def read(file, width={width}, height={height}):
    \"""Return the image in a file as training saw it: upright, its centre, resized.\"""
    image = Image.open(file)
    image.draft(None, ({most}, {most}))  # a large JPEG is read smaller
    image = ImageOps.exif_transpose(image).convert("RGB")
    across = min(image.width, image.height * width // height)
    down = min(image.height, image.width * height // width)
    left, top = (image.width - across) // 2, (image.height - down) // 2
    bands = image.crop((left, top, left + across, top + down)).split()
    bands = [band.convert("F").resize((width, height), Image.Resampling.BICUBIC) for band in bands]
    return np.stack(bands, axis=2).clip(0, 255).round().astype(np.uint8)

model = keras.saving.load_model("model.keras", safe_mode=True)
names = json.loads(zipfile.ZipFile("model.keras").read("harness.json"))["class_names"]
images = np.stack([read(file) for file in files])
labels = [names[i] for i in model.predict(images).argmax(axis=1)]"""


def model_card(
    winner: Winner,
    dataset: DatasetSpec,
    split: Split,
    result: TrialResult,
    environment: Mapping[str, Any],
    files: Mapping[str, str],
    comparison: Comparison,
) -> str:
    """Return the card in Markdown.

    ``environment`` is what the training ran on; ``files`` says of each file of the export what it is, ``comparison``
    how they did on validation images.
    """
    study, strategy = winner.study, winner.strategy
    size, (height, width, *colours) = strategy.image_size, split.train.pixels.shape[1:]
    backbone = study.search.backbone(strategy.backbone)
    weights = (
        f"They began as those of {text(backbone.title)}, trained on ImageNet: {text(backbone.weights.licence)}. Name "
        "their authors where you use this model."
        if strategy.pretrained
        else "No weights of others: the network was trained from random ones."
    )
    return "\n".join([
        f"# Model card: {text(study.name)}",
        "",
        f"{text(backbone.title)} re-used for {split.n_classes} classes by {strategy.label()}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in _rows(winner, dataset, split, result, environment)),
        "",
        "## Use",
        "",
        "Input: RGB images as raw bytes, (n, height, width, 3) uint8, a grey image repeated three times, of any "
        f"height and width. The model crops the centre to the aspect ratio {width} to {height}, resizes it to "
        f"{width} x {height}{'' if colours else ', converts it to grey'} and then does as in training, "
        f"at {size} x {size}. Formats other than Keras and SavedModel take images of {width} x {height} only, "
        "which `read` makes. Output: one probability for each class, in this order:",
        "",
        *(f"{index}. {text(name)}" for index, name in enumerate(split.class_names)),
        "",
        *(f"- `{name}`: {what}" for name, what in files.items()),
        "",
        "```python",
        *_CODE.format(width=width, height=height, most=2 * max(width, height)).splitlines(),
        "```",
        "",
        "## Files compared",
        "",
        f"On {comparison.n:,} validation images, of which the model itself, as it was trained, recognises "
        f"{formatting.accuracy(comparison.accuracy)}. It was trained on these images too: only what differs between "
        f"files counts. Time: the median of one image at a time, on {text(environment['device'])}.",
        "",
        "| file | size | one image | accuracy, compared with the model | another class |",
        "|---|---|---|---|---|",
        *(_compared(form, found, comparison) for form, found in comparison.files.items()),
        "",
        "## Limits",
        "",
        f"Made for images like those of {text(dataset.name)}, of {width} x {height} pixels; it names one "
        "of its classes for every image, whatever it shows. The probabilities are calibrated for such images only.",
        "",
        "## Licences",
        "",
        f"- Weights: {weights}",
        f"- Images: {text(dataset.licence) or 'not stated by the data set'}.",
        "",
        "## Again",
        "",
        "`harness export --spec spec.toml --out DIR` trains the same model, from "
        f"the same {split.n_searched():,} images, with seed {winner.seed}.",
        "",
    ])  # fmt: skip


def _rows(
    winner: Winner,
    dataset: DatasetSpec,
    split: Split,
    result: TrialResult,
    environment: Mapping[str, Any],
) -> Sequence[tuple[str, str]]:
    study, found = winner.study, winner.evidence
    batch_size = study.budget.batch_size_at(winner.strategy.image_size)
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    return [
        ("data", f"{text(dataset.name)}: {text(dataset.source) or 'no source stated'}"),
        (
            "split",
            f"stratified by class, seed {study.seed}: {len(split.train):,} training, {len(split.validation):,} "
            f"validation, {len(split.test):,} test images",
        ),
        (
            "trained on",
            f"the training and validation sets, {split.n_searched():,} images; no image of the "
            "held-out test set",
        ),
        ("metric", f"{METRIC_NAMES[study.metric]} of the most probable class"),
        (f"validation {METRIC_NAMES[study.metric]}", _score(winner)),
        ("test accuracy", _test(winner)),
        ("best baseline of the search", _baseline(winner)),
        ("calibration", _calibration(winner.calibration)),
        (
            "training",
            f"{formatting.count(study.budget.epochs_of(winner.strategy), 'epoch')}, batch {batch_size}, "
            f"{winner.strategy.label()}, dropout {winner.strategy.dropout:.2g}",
        ),
        (
            "cost",
            f"{formatting.tflop(result.train_flops)} and {formatting.seconds(result.seconds.total)} for this training "
            f"on {text(environment['device'])}; {formatting.tflop(found.search_flops)} for the search that found it",
        ),
        ("made with", f"{text(versions)}; commit {environment['commit']}"),
    ]  # fmt: skip


def _compared(form: str, found: Performance | None, comparison: Comparison) -> str:
    """Return a row of the table of files."""
    described = FORMATS[form]
    if found is None:
        return f"| `{described.target}` | | not run: {described.runtime} is not installed | | |"
    return (
        f"| `{described.target}` | {found.bytes / 1e6:.3g} MB | {1000 * statistics.median(found.seconds):.3g} ms | "
        f"{100 * (found.accuracy - comparison.accuracy):+.2f} points | {found.changed} of {comparison.n:,} |"
    )


def _score(winner: Winner) -> str:
    found = winner.evidence
    if found.score is None:
        return f"none: trial {found.trial} ended before its first epoch"
    interval = ""
    if winner.study.metric == "accuracy":
        low, high = wilson_interval(round(found.score * found.n_validation), found.n_validation)
        interval = f", 95 % interval {low:.3f} to {high:.3f}"
    return (
        f"{formatting.accuracy(found.score)}{interval} on {found.n_validation:,} images, of trial {found.trial}, "
        f"trained on the training set alone. "
        f"Optimistic where it is the best of {formatting.count(found.trials, 'trial')}"
    )


def _test(winner: Winner) -> str:
    test = winner.evidence.test
    if test is None:
        return "not measured: the test set has not been opened for this strategy (`harness confirm`)"
    again = "" if test.opening == 1 else f"; the test set had been opened {test.opening - 1} times before"
    return (
        f"{formatting.accuracy(test.accuracy)}, 95 % interval {test.low:.3f} to {test.high:.3f} on {test.n_test:,} "
        f"images: the mean of {test.seeds} trainings like this one with other seeds{again}"
    )


def _calibration(found: Calibration | None) -> str:
    if found is None:
        return "none: the trial did not complete, so no temperature was fitted"
    (gain, error), how = found.gain, f"to the trial's logits of {found.n:,} validation images, which it had not seen"
    if found.temperature == 1:
        return (
            f"temperature 1, which changes nothing: {found.fitted:.2f}, fitted {how}, would not lower the log loss of "
            f"others for certain (cross-validated, by {gain:.4f} with a standard error of {error:.4f}). Log loss "
            f"{found.loss[0]:.3f}, expected calibration error {found.error[0]:.3f} there"
        )
    return (
        f"temperature {found.temperature:.2f}, inside the last layer, fitted {how}. There the log loss went from "
        f"{found.loss[0]:.3f} to {found.loss[1]:.3f} (cross-validated, lower by {gain:.4f} with a standard error of "
        f"{error:.4f}), the expected calibration error from {found.error[0]:.3f} to {found.error[1]:.3f}"
    )


def _baseline(winner: Winner) -> str:
    found = winner.evidence
    if found.baseline_score is None:
        return "none was run"
    better = found.score is None or found.baseline_score >= found.score
    verdict = "this model is no better" if better else "this model is better"
    return f"{found.baseline}, {formatting.accuracy(found.baseline_score)} on the same images: {verdict}"


def text(value: str) -> str:
    """Escape ``value`` so that Markdown shows it literally, on one line."""
    escaped = html.escape(" ".join(value.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", escaped)
