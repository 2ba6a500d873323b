"""What is said of the machine."""

import pytest

from harness.core import environment


def test_visible_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (("", []), ("-1", []), ("2,GPU-5", ["2", "GPU-5"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert environment.gpus() == expected
