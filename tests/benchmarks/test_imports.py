"""The benchmarks are run by hand, now and then: nothing else tells that a name they import is gone."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

IMPORTS = """
import importlib, pkgutil, benchmarks
names = [module.name for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]
for name in names:
    if not name.startswith("benchmarks.rivals."):  # each needs its tool
        importlib.import_module(name)
print(len(names))
"""


@pytest.mark.large
def test_all_but_those_of_other_tools_can_be_imported() -> None:
    """In a process of its own: some put stubs in the place of what they do not measure."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 30
