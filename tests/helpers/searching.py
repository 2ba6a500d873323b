"""Studies whose trials are planned and claimed, but not trained."""

from typing import Any

from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.guidance.advice import Advice
from harness.storage.store import Store
from harness.strategy_search.resume import begin_session

ADVICE = Advice(2, Strategy("freeze_first_k", 7, "average", (), 0.0, "adam", 1e-4, image_size=32), "because")


def session(store: Store, spec: StudySpec) -> int:
    """Begin a session of this process."""
    return begin_session(store, spec, command="test", environment={"commit": "c", "device": "d"})


def trials(spec: StudySpec, n: int, **changes: Any) -> StudySpec:
    """Return the study with ``n`` trials."""
    budget = spec.budget.model_copy(update={"trials": n})
    return spec.model_copy(update={"budget": budget, **changes})
