"""JSON with null for what JSON does not have."""

import json
import math

import numpy as np

from harness.core.strict_json import dumps


def test_numbers_that_are_not_finite_are_null_at_any_depth() -> None:
    value = {"a": math.nan, "b": [1, (math.inf, -math.inf)], "c": {"d": np.float64("nan")}, "e": 2.5, "f": "NaN"}
    expected = {"a": None, "b": [1, [None, None]], "c": {"d": None}, "e": 2.5, "f": "NaN"}
    assert json.loads(dumps(value, indent=1), parse_constant=lambda _: 1 / 0) == expected
