"""Generate the table of docs/benchmarks.md from the results.

    python -m benchmarks.table

Every figure is computed from a file in benchmarks/results. A test compares the committed table with them.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from benchmarks.overhead import overhead as share
from benchmarks.record import RESULTS

PAGE = RESULTS.parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- made by python -m benchmarks.table -->", "<!-- end -->"
HEADER = "| what | figure | n | spread | machine, date | command |\n|---|---|---|---|---|---|"


class Row(NamedTuple):
    """A claim: ``n`` says how many measurements the figure summarizes, ``spread`` the range of these."""

    what: str
    figure: str
    n: str
    spread: str


def _spread(values: Iterable[float], shape: str) -> str:
    values = list(values)
    return f"{min(values):{shape}} to {max(values):{shape}}" if len(values) > 1 else "one value"


def roofline(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the peaks, and the share of peak and bound that each step reaches."""
    rounds = f"best of {found['repeats']} rounds"
    for precision, of in found["precisions"].items():
        product = of["product"]
        yield Row(f"convolution peak, {precision}", f"{of['peak'] / 1e9:,.0f} GFLOP/s", rounds,
                  f"matrix product {product['best'] / 1e9:,.0f}, median {product['median'] / 1e9:,.0f}")  # fmt: skip
        for step in of["steps"]:
            share, bound = step["share"], step["share_of_bound"]
            yield Row(
                f"training step, k = {step['frozen']}, {precision}",
                f"{1e3 * min(step['seconds']):.0f} ms, {step['rate']['best'] / 1e9:,.0f} GFLOP/s: "
                f"{share['best']:.0%} of the peak, {bound['best']:.0%} of the bound",
                rounds,
                f"median {share['median']:.0%} of the peak, {bound['median']:.0%} of the bound",
            )


def gpu(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the ceilings of the card and the seconds of an epoch of each strategy."""
    most, images = found["ceilings"], found["images"]
    rates = [conv["flops"] / conv["forward"] for conv in most["convolutions"]]
    yield Row("ceilings of a GPU, bfloat16: a matrix product, VGG16's convolutions forward, a copy",
              f"{most['product'] / 1e12:,.0f}, {min(rates) / 1e12:,.0f} to {max(rates) / 1e12:,.0f} TFLOP/s, "
              f"{most['copy'] / 1e12:.1f} TB/s", "best of 5 rounds of 10 calls", "not kept")  # fmt: skip
    for row in found["rows"]:
        seconds = row["epoch_seconds"]
        middle = statistics.median(seconds)
        yield Row(
            f"epoch of {images['train']:,} images of {images['image_size']} px on a GPU, {row['strategy']}",
            f"{middle:,.2f} s, {row['epoch_flops'] / middle / 1e12:,.0f} TFLOP/s: floor {row['floor']:,.2f} s"
            f" ({row['floor'] / middle:.0%}), bound of its convolutions {row['bound']:,.2f} s"
            f" ({row['bound'] / middle:.0%})"
            if row["bound"]
            else f"{middle:,.2f} s, and {row['seconds']['features']:,.0f} s once for the activations",
            f"median of {len(seconds)} epochs",
            f"{_spread(seconds, ',.2f')} s",
        )


def scaling(found: dict[str, Any]) -> Iterator[Row]:
    """Yield seconds and peak memory of each point."""
    named = {
        "trials": "a search of {:,} trials, training stubbed",
        "later": "the hundred trials after {:,}, training stubbed",
        "images": "{:,} images",
        "size": "a trial on 64 images of {:,} px",
    }[found["of"]]
    for amount, runs in sorted(found["points"].items(), key=lambda point: int(point[0])):
        parts = {part: statistics.median(run["seconds"][part] for run in runs) for part in runs[0]["seconds"]}
        totals = [sum(run["seconds"].values()) for run in runs]
        busy = [sum(run["processor"].values()) for run in runs if "processor" in run]
        yield Row(
            named.format(int(amount)),
            ", ".join(f"{part} {seconds:,.1f} s" for part, seconds in parts.items())
            + (f" ({statistics.median(busy):,.1f} s of the processor)" if busy else "")
            + f"; {max(run['megabytes'] for run in runs):,.0f} MB at the peak",
            f"{len(runs)} runs" if len(runs) > 1 else "1 run",
            _spread(totals, ",.1f"),
        )


def memory(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the growth over the trials."""
    curve = found["megabytes"]
    yield Row(
        f"growth of memory from trial 10 to trial {len(curve)}, each with a new head shape",
        f"{found['growth']:+.0f} MB", "1 run", f"{min(curve[9:]):,.0f} to {max(curve[9:]):,.0f} MB",
    )  # fmt: skip


def workers(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the efficiency of many workers."""
    for kind, runs in found["rows"].items():
        for run in runs:
            yield Row(f"{run['workers']} worker{'s' * (run['workers'] > 1)} on {kind}",
                      f"{run['efficiency']:.1%} of ideal", f"{run['trials']} trials, 1 run", "one value")  # fmt: skip


def page(found: dict[str, Any]) -> Iterator[Row]:
    """Yield how long a reader of the page waits."""
    for name, values in found["milliseconds"].items():
        yield Row(f"page of {found['trials']:,} trials: {name}", f"{statistics.median(values):,.0f} ms",
                  f"median of {len(values)}", f"{_spread(values, ',.0f')} ms")  # fmt: skip


def precision(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the speed and the accuracy of bfloat16 compared with float32."""
    for name, of in found["by_strategy"].items():
        yield Row(f"bfloat16 compared with float32, {name}", f"{of['ratio']:.2f} times as fast",
                  f"median of {len(of['ratios'])} seeds", _spread(of["ratios"], ".2f"))  # fmt: skip
    of = found["accuracy_difference"]
    yield Row("accuracy, bfloat16 minus float32", f"{100 * of['mean']:+.2f} points", f"{of['n']} pairs",
              f"95 % {100 * of['low']:+.2f} to {100 * of['high']:+.2f}")  # fmt: skip


def plain_loop(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the time of a plain loop compared with a trial of the harness."""
    for name, runs in found["runs"].items():
        ratios = [run["ratio"] for run in runs]
        yield Row(f"a plain Keras loop compared with a trial, {name}", f"{statistics.median(ratios):.1f} times as long",
                  f"median of {len(ratios)} pairs", _spread(ratios, ".1f"))  # fmt: skip


def whole_job(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the time of many trials of a plain loop compared with as many of the harness."""

    def told(name: str, figure: str, shape: str) -> str:
        return format(statistics.median(run[figure] for run in found["runs"][name]), shape)

    seconds, best, gigabytes = (
        f"{told('loop', figure, shape)} against {told('harness', figure, shape)}"
        for figure, shape in (("seconds", ",.0f"), ("best", ".3f"), ("gigabytes", ".1f"))
    )
    ratios = found["ratios"]
    yield Row(
        f"{found['asked_trials']} trials of an Optuna loop with MedianPruner compared with as many of the harness",
        f"{statistics.median(ratios):.1f} times as long: {seconds} s; best accuracy {best}; memory {gigabytes} GiB",
        f"{len(ratios)} run of each" if len(ratios) == 1 else f"median of {len(ratios)} runs of each",
        _spread(ratios, ".1f"),
    )


def overhead(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the share of a search that is neither features nor training nor evaluation."""
    shares = [share(seconds) for seconds in found["runs"]]
    middle = sorted(found["runs"], key=share)[len(shares) // 2]
    others = ", ".join(f"{kind} {seconds:,.0f}" for kind, seconds in middle.items() if kind != "wall")
    yield Row(f"overhead of {found['trials']} trials of the study mnist, baselines and page included",
              f"{statistics.median(shares):.1%} of the wall time of {middle['wall']:,.0f} s ({others})",
              f"median of {len(shares)} runs" if len(shares) > 1 else "1 run", _spread(shares, ".1%"))  # fmt: skip


def two_workers(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the time of two workers compared with one."""
    for way, ratios in found["ratios"].items():
        yield Row(f"two workers compared with {way}", f"{statistics.median(ratios):.2f} of the time",
                  f"median of {len(ratios)} rounds", _spread(ratios, ".2f"))  # fmt: skip


def prediction(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the error of the predicted seconds."""
    for seen, of in found["median_error_by_trials_seen"].items():
        yield Row(f"error of a trial's predicted seconds after {seen} trial{'s' * (seen != '1')}",
                  f"{of['median']:.0%}", f"median of {of['n']} trials", "not kept")  # fmt: skip


def replay(found: dict[str, Any]) -> Iterator[Row]:
    """Yield what pruning saves and costs."""
    for name, of in found["sets"].items():
        ablation = of["pruning"]
        flops, points = ablation["flops_ratio"], ablation["accuracy_points"]
        yield Row(
            f"pruning compared with no pruning, {name}",
            f"{flops['mean']:.0%} of the FLOPs, best accuracy {points['mean']:+.2f} points",
            f"{ablation['lists']} lists of {ablation['trials']} trials",
            f"95 % {flops['low']:.0%} to {flops['high']:.0%}, {points['low']:+.2f} to {points['high']:+.2f}",
        )


def suspects(found: dict[str, Any]) -> Iterator[Row]:
    """Yield how many of the planted wrong labels are among the first suspects, and what dropping these gains."""
    means = [statistics.mean(run["recall"] for run in of["runs"]) for of in found["sets"].values()]
    gains = [
        100 * statistics.mean(run["accuracy without the suspects"] - run["accuracy with the planted labels"]
                              for run in of["runs"])
        for of in found["sets"].values()
    ]  # fmt: skip
    n = f"mean of {len(means)} sets, {len(next(iter(found['sets'].values()))['runs'])} seeds each"
    share = f"{found['share']:.0%} wrong labels, planted in sets of photos"
    yield Row(f"{share}: found among as many suspects", f"{statistics.mean(means):.0%}", n, _spread(means, ".0%"))
    yield Row(f"{share}: test accuracy gained by dropping these suspects", f"{statistics.mean(gains):+.1f} points", n,
              _spread(gains, "+.1f"))  # fmt: skip


def formats(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the size of each file of an export, the time of an image and how its predictions differ."""
    for backbone, of in found["backbones"].items():
        for name, file in of["files"].items():
            if file is None:
                continue
            times = [1000 * seconds for seconds in file["seconds"]]
            yield Row(
                f"an export of {backbone} at {found['image_size']} px, `{found['targets'][name]}`",
                f"{file['bytes'] / 1e6:.3g} MB, {statistics.median(times):.3g} ms an image, accuracy "
                f"{100 * (file['accuracy'] - of['accuracy']):+.2f} points, another class for {file['changed']} of "
                f"{of['n']} images",
                f"time: median of {len(times)}",
                f"{_spread(times, '.3g')} ms",
            )


def photos(found: dict[str, Any]) -> Iterator[Row]:
    """Yield what a search of sizes and backbones reaches on photos compared with one of thumbnails, and how much of its
    front each backbone holds."""
    pairs: dict[str, list[dict[str, Any]]] = {}
    for run in found["runs"]:
        pairs.setdefault(run["set"], []).append(run)
    of_search = {
        search: {name: statistics.mean(1 - run["best"] for run in runs if run["search"] == search)
                 for name, runs in pairs.items()}
        for search in ("thumbnails", "sizes and backbones")
    }  # fmt: skip
    before, after = of_search.values()
    seeds = len({run["seed"] for run in found["runs"]})
    minutes = found["time_limit"] / 60
    n = f"{seeds} seed{'s' * (seeds > 1)}"
    fewer = [1 - after[name] / before[name] for name in pairs]
    yield Row(
        f"validation error of a search of {minutes:.0f} minutes at most, on photos: VGG16 at 64 px, and sizes and "
        "backbones",
        f"{statistics.mean(before.values()):.1%} and {statistics.mean(after.values()):.1%}: "
        f"{1 - statistics.mean(after.values()) / statistics.mean(before.values()):.0%} fewer errors",
        f"{len(pairs)} sets, {n}, both at the same time on the machine", f"{_spread(fewer, '.0%')} fewer by set",
    )  # fmt: skip
    for name, runs in pairs.items():
        last = [run for run in runs if run["search"] == "sizes and backbones"]
        shares = [
            f"{backbone} {statistics.mean(run['front'][backbone]['points'] for run in last):.2g} of "
            f"{statistics.mean(run['front'][backbone]['of_points'] for run in last):.2g} points, alone "
            f"{statistics.mean(run['front'][backbone]['hypervolume'] for run in last):.1%} of the area"
            for backbone in sorted({backbone for run in last for backbone in run["front"]})
        ]
        figure = f"accuracy {1 - before[name]:.3f} and {1 - after[name]:.3f}; front of the latter: {'; '.join(shares)}"
        yield Row(f"the same on {name}, {runs[0]['images']['n_train']} training and "
                  f"{runs[0]['images']['n_validation']} validation images", figure, n,
                  _spread([run["best"] for run in last], ".3f"))  # fmt: skip


BENCHMARKS: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    of.__name__: of
    for of in (
        roofline,
        gpu,
        plain_loop,
        whole_job,
        overhead,
        precision,
        two_workers,
        workers,
        memory,
        prediction,
        page,
        replay,
        suspects,
        photos,
        formats,
    )
} | dict.fromkeys(("scaling_trials", "scaling_later", "scaling_images", "scaling_size"), scaling)
"""Benchmarks with their own table in another document are not repeated here."""


def table() -> str:
    """Return the table in Markdown: a row for each claim of each benchmark that has a result."""
    lines = [HEADER]
    for name, rows in BENCHMARKS.items():
        file = RESULTS / f"{name}.json"
        if not file.exists():
            continue
        found = json.loads(file.read_text(encoding="utf-8"))
        machine = found.get("machine", found)
        for row in rows(found):
            cells = (*row, f"{machine['device']}, {machine['date']}", f"`{machine['command']}`")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def placed(page: str, made: str, begin: str = BEGIN) -> str:
    """Return ``page`` with ``made`` between its marks, the line ``begin`` and `END`.

    Raises:
        ValueError: the page has no marks.
    """
    before, rest = page.split(begin, 1)
    _, after = rest.split(END, 1)
    return f"{before}{begin}\n{made}\n{END}{after}"


def main() -> None:
    """Write the table to docs/benchmarks.md."""
    PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
    print(f"written to {PAGE.relative_to(RESULTS.parent.parent)}")


if __name__ == "__main__":
    main()
