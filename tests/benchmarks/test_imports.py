"""The benchmarks are run by hand, now and then: nothing else tells that a name they import is gone."""

import importlib
import pkgutil

import benchmarks


def test_all_but_those_of_other_tools_can_be_imported() -> None:
    names = [module.name for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]
    assert len(names) > 30
    for name in names:
        if not name.startswith("benchmarks.rivals."):  # each needs its tool
            importlib.import_module(name)
