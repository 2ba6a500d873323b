"""Format numbers for readers, always with their unit."""

import html
import math
import textwrap

from harness.core.quantities import number as number
from harness.core.quantities import seconds as seconds
from harness.core.quantities import seconds_of_training as seconds_of_training
from harness.core.quantities import tflop as tflop


def accuracy(value: float) -> str:
    """Return an accuracy, or another score, with four decimals; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def points(difference: float) -> str:
    """Return the size of a difference of two scores in points (0.01 is one point)."""
    return f"{round(abs(difference) * 100, 2):g} points"


def percent(share: float) -> str:
    """Return a share of 1 in percent, without decimals: ``56 %``."""
    return f"{share * 100:.0f} %"


def p_value(value: float) -> str:
    """Return a p value as it follows the "p": ``= 0.034``, ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def count(n: int, noun: str) -> str:
    """Return ``1 trial``, ``12 trials``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def plotly_text(text: str, width: int = 60) -> str:
    """Return ``text`` wrapped and escaped: Plotly reads a subset of HTML in every label."""
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(text, width))
