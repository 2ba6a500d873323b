"""Numbers as a reader sees them, always with their unit."""

import html
import math
import textwrap


def accuracy(value: float) -> str:
    """An accuracy, or another score: four decimals; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def number(value: float) -> str:
    """Three significant digits, no exponent for what fits: 0.0123, 1.23, 12.3, 1,230; a dash for NaN."""
    if math.isnan(value):
        return "–"
    value = float(f"{value:.3g}") if abs(value) < 100 else value
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.2g}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"


def tflop(flops: float) -> str:
    """FLOPs as TFLOP (1e12 operations; a multiply-add is two)."""
    return f"{number(flops / 1e12)} TFLOP"


def seconds(value: float) -> str:
    """Seconds as s, min or h: ``12.3 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if math.isnan(value):
        return "–"
    if value < 99.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def points(difference: float) -> str:
    """A difference of two scores in points (0.01 is one point)."""
    return f"{round(abs(difference) * 100, 2):g} points"


def percent(share: float) -> str:
    """A share of one, without decimals: ``56 %``."""
    return f"{share * 100:.0f} %"


def p_value(value: float) -> str:
    """A p value behind its "p": ``= 0.034``, ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def count(n: int, noun: str) -> str:
    """``1 trial``, ``12 trials``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def plotly_text(text: str, width: int = 60) -> str:
    """``text`` as Plotly shows it to the letter, wrapped: Plotly reads a part of HTML in every label."""
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(text, width))
