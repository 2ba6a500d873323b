"""Put the atlas into plain words: the verdict on each scenario, and on the article's table as a whole."""

from collections.abc import Sequence

from harness.analysis import formatting
from harness.analysis.verdicts import Found, Place, Verdict, verdicts
from harness.statistics.intervals import Interval

_QUADRANTS = {1: "small, similar", 2: "small, not similar", 3: "large, not similar", 4: "large, similar"}


def overall(found: Sequence[Found], placed: Sequence[Place]) -> str:
    """Return the verdict on the whole table, in two sentences."""
    scenarios = verdicts(placed)
    right = sum(place.right for place in placed)
    by_word = {word: [str(v.scenario) for v in scenarios if v.word == word] for word in ("holds", "does not hold")}
    decided = "; ".join(f"{word} in {_scenarios(which)}" for word, which in by_word.items() if which)
    seeds = len({trial.seed for trial in found})
    return (
        f"The article's table names the winner at {right} of {formatting.count(len(placed), 'place')} "
        f"({formatting.count(seeds, 'seed')} each). It {decided or 'is undecided in all scenarios'}"
        f"{'; the others are undecided' if decided and sum(map(len, by_word.values())) < len(scenarios) else ''}."
    )


def _scenarios(which: Sequence[str]) -> str:
    *some, last = which
    return f"scenarios {', '.join(some)} and {last}" if some else f"scenario {last}"


def verdict_in_words(verdict: Verdict) -> str:
    """Return what the places of a scenario say, with intervals."""
    text = f"Scenario {verdict.scenario} ({_QUADRANTS[verdict.scenario]}: {verdict.advised})"
    if verdict.lead is None or verdict.across is None:
        return f"{text}: undecided, no place of the map is in it."
    n, sets = len(verdict.places), len({place.dataset for place in verdict.places})
    right = sum(place.right for place in verdict.places)
    seeds = "one seed, so no interval" if verdict.lead.n < 2 else f"95 % over {verdict.lead.n} seeds"
    margin = f"{100 * abs(verdict.lead.mean):.1f} points"
    leads = "leads" if verdict.lead.mean >= 0 else "trails"
    interval = "" if verdict.lead.n < 2 else f"{100 * verdict.lead.low:+.1f} to {100 * verdict.lead.high:+.1f}, "
    text += (
        f": {verdict.word}. The advised strategy {leads} the best other by {margin} ({interval}{seeds}) and wins at "
        f"{right} of {formatting.count(n, 'place')}, of {formatting.count(sets, 'data set')}."
    )
    if verdict.across.n > 1:
        text += f" For other sets of the kind: {lead_in_words(verdict.across)}, the sets as replicates."
    return text


def lead_in_words(found: Interval) -> str:
    """Return a lead in points with its interval: ``-1.2 points (95 %: -2.3 to -0.1; 3 seeds)``."""
    mean = f"{100 * found.mean:+.1f} points"
    if found.n < 2:
        return f"{mean} (one replicate: no interval)"
    return f"{mean} (95 %: {100 * found.low:+.1f} to {100 * found.high:+.1f}, n = {found.n})"
