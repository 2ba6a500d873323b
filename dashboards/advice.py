"""Print the advice on a data set: what the rules choose, what to expect of each way, and what it costs."""

from dataclasses import asdict
from typing import Any

from dashboards.terminal import console_of, text_table
from harness.analysis import formatting
from harness.core.strategy import KINDS
from harness.rules.advised import Advised, Option


def print_advice(advised: Advised) -> None:
    """Print the advice in sentences, and a table of the best way of each kind."""
    console = console_of(120)
    first, *others = advised.sentences()
    console.print(first, markup=False, soft_wrap=True)
    console.print(
        text_table(
            "What to expect (the best of each kind)",
            ("strategy", "accuracy (90 %)", "TFLOP", "seconds here"),
            (_row(option, option == advised.choice) for option in best_of_each_kind(advised)),
        )
    )
    for sentence in others:
        console.print(sentence, markup=False, soft_wrap=True)


def best_of_each_kind(advised: Advised) -> list[Option]:
    """Return of each kind of strategy the arm of the highest expected accuracy, and the chosen arm, the best first."""
    best = {kind: next((o for o in advised.options if o.arm.kind == kind), None) for kind in KINDS}
    kept = [option for option in best.values() if option is not None]
    return [option for option in advised.options if option in kept or option == advised.choice]


def as_json(advised: Advised) -> dict[str, Any]:
    """Return the advice for JSON. Accuracies are shares; costs FLOPs and seconds."""
    return {
        "data": advised.dataset,
        "n_train": advised.probed.n_train,
        "n_validation": advised.n_validation,
        "n_probed": advised.n_probed,
        "profile": asdict(advised.profile),
        "probes": {place: asdict(probe) for place, probe in advised.probed.probes.items()},
        "article": {
            "scenario": advised.article.scenario,
            "strategy": advised.article.strategy.place(),
            "reason": advised.article.reason,
        },
        "rule": {
            "name": advised.rule.rule.name,
            "behind": asdict(advised.rule.behind),
            "lead_on_best_constant": asdict(advised.rule.lead),
            "behind_on_similar_sets": advised.alike,
        },
        "choice": _plain(advised.choice),
        "by_rule": {name: arm.place() for name, arm in advised.by_rule.items()},
        "options": [_plain(option) for option in advised.options],
        "probing_flops": advised.probing,
    }


def _plain(option: Option) -> dict[str, Any]:
    return {"place": option.arm.place(), **asdict(option), "arm": option.arm.as_row()}


def _row(option: Option, chosen: bool) -> tuple[str, ...]:
    expected = f"{formatting.accuracy(option.accuracy)} ({option.low:.2f} to {option.high:.2f})"
    marked = f"{option.arm.place()}{' <- recommended' if chosen else ''}"
    return marked, expected, formatting.number(option.flops / 1e12), formatting.seconds(option.seconds)
