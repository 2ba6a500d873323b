"""Format numbers with three digits and compute with its unit, for readers."""

import math


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


def seconds_of_training(value: float) -> str:
    """Return seconds as `seconds` does, but three digits of a few: ``0.0123 s``, ``3.21 s``."""
    return f"{number(value)} s" if value < 9.995 else seconds(value)
