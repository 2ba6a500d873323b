"""Continuing a study: what may change, and recording the process that works on it."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from harness.core.errors import SpecError
from harness.core.processes import host, process_started
from harness.core.spec import Precision, StudySpec
from harness.core.validation import short
from harness.storage.store import Store
from harness.storage.studies import StudyRow

_FREE_TO_CHANGE = {
    "name", "description", "data.dataset", "budget.trials", "budget.time_limit", "budget.max_trial_cost", "pruning",
    "baselines", "recommendation",
}  # fmt: skip
"""Keys that may change. The images may have moved: `check_same_images` compares what they are."""


def begin_session(store: Store, spec: StudySpec, *, command: str, environment: dict[str, Any]) -> int:
    """Record that this process works on the study ``spec`` and return the session's id."""
    started = process_started(os.getpid())
    assert started is not None
    return store.sessions.begin(
        spec.name,
        command=command,
        spec=spec.model_dump(mode="json"),
        environment=environment,
        host=host(),
        pid=os.getpid(),
        process_started=started,
    )


def resolve_precision(spec: StudySpec, before: StudyRow | None, fastest: Callable[[], Precision]) -> StudySpec:
    """Return ``spec`` with a precision in place of auto, so that all trials of a study compute alike.

    Args:
        spec: the study as asked for.
        before: the stored study, whose precision is kept; None for a new study.
        fastest: returns the precision that is fastest on this machine, for a new study.
    """
    if spec.budget.precision != "auto":
        return spec
    precision = StudySpec.model_validate(before.spec).budget.precision if before else fastest()
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"precision": precision})})


def check_same_problem(before: Mapping[str, Any], spec: StudySpec) -> None:
    """Raise SpecError, naming each key, where results of ``spec`` could not be compared with those of ``before``.

    A key that did not exist when the study was begun counts as having had its default.
    """
    then = StudySpec.model_validate(before).model_dump(mode="json")
    changed = [
        f"{key} was {short(old)}, now {short(new)}"
        for key, old, new in _differences(then, spec.model_dump(mode="json"), "")
    ]
    if changed:
        raise SpecError(
            f"study {spec.name!r} was begun with other settings: {'; '.join(changed)}. Its trials cannot be compared: "
            "take the change back, give the new study its own --name, or drop the old results with --fresh"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> list[tuple[str, Any, Any]]:
    found = []
    for name in sorted(before.keys() | now.keys()):
        key, old, new = prefix + name, before.get(name), now.get(name)
        if key in _FREE_TO_CHANGE:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{key}.")
        elif old != new:
            found.append((key, old, new))
    return found
