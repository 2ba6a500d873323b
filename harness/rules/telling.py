"""What the league says, in sentences."""

from collections.abc import Sequence

from harness.rules.league import REFERENCE, Estimate, Standing, trusted
from harness.rules.outcomes import Outcomes
from harness.statistics.intervals import Interval


def sentences(table: Sequence[Standing], outcomes: Outcomes) -> list[str]:
    """Return what the standings of rules and constants mean."""
    by_name = {standing.rule.name: standing for standing in table}
    best, constant = trusted(table), by_name[REFERENCE]
    compared = outcomes.complete
    sizes = [place.n_train for place in compared.places]
    ends = sorted({min(sizes), max(sizes)})
    found = [
        f"{len(compared.datasets)} data sets, {len(compared.places)} places of {' to '.join(map(str, ends))} training "
        f"images, {len(compared.arms)} ways of reusing a network. A rule never saw the set that it chose for."
    ]
    if best is constant:
        found.append(
            "No rule leads the best constant beyond its 95 % interval: that is what is followed, "
            f"{in_points(best.behind)} points behind the best."
        )
    else:
        found.append(
            f"The rule to follow is {best.rule.name!r}, {in_points(best.behind)} points behind the best. The best "
            f"constant is {in_points(constant.behind)} behind: the rule leads by {in_points(best.lead)}."
        )
    for standing in table:
        if standing.rule.name.startswith("article"):
            found.append(
                f"{standing.rule.text[0].upper()}{standing.rule.text[1:]}: {in_points(standing.behind)} behind."
            )
    return found


def in_points(estimate: Estimate | Interval, sign: str = "") -> str:
    """Return an estimate in points: ``2.2 (0.8 to 4.0)``, with a ``sign`` of "+" ``+2.2 (+0.8 to +4.0)``."""
    mean, low, high = (100 * value for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"
