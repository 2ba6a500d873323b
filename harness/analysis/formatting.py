"""Format numbers for readers, always with their unit."""

import html
import math
import textwrap


def accuracy(value: float) -> str:
    """Return an accuracy, or another score, with four decimals; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def number(value: float) -> str:
    """Return three significant digits, with an exponent below 0.0001 only: 0.0123, 1.23, 1,230; a dash for NaN."""
    if math.isnan(value):
        return "–"
    value = float(f"{value:.3g}") if abs(value) < 100 else value
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.2g}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"


def tflop(flops: float) -> str:
    """Return FLOPs in TFLOP (1e12 operations; a multiply-add is two)."""
    return f"{number(flops / 1e12)} TFLOP"


def seconds(value: float) -> str:
    """Return seconds in s, min or h: ``12.3 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if math.isnan(value):
        return "–"
    if value < 99.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


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
