"""Architectures of declared backbones: shipped, in the user's cache, or built once. Imports Keras only to build one.

``python -m harness.backbones.described`` writes those of the shipped backbones again.
"""

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

import harness
from harness.backbones.stages import Architecture
from harness.core.backbone import BackboneSpec
from harness.core.paths import user_cache
from harness.core.toml_files import shipped

SHIPPED = Path(__file__).parent / "architectures"
"""The folder of the architectures that come with the harness."""


@dataclass(frozen=True, slots=True)
class _Record:
    digest: str
    architecture: Architecture


_JSON: TypeAdapter[_Record] = TypeAdapter(_Record)


def architecture_of(spec: BackboneSpec) -> Architecture:
    """Return the stages of a backbone and what they cost.

    Those of the shipped backbones come with the harness. Another is built once, which takes Keras and seconds, and kept
    in the user's cache.

    Raises:
        SpecError: If it cannot be built or described, see `harness.backbones.describe`.
    """
    digest = digest_of(spec)
    cached = user_cache() / "architectures" / f"{digest[:16]}-{harness.__version__}-{version('keras')}.json"
    for file in (SHIPPED / f"{spec.name}.json", cached):
        if found := _read(file, digest):
            return found
    described = _describe(spec)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs seconds next time, nothing else
        _write(cached, _Record(digest, described))
    return described


def digest_of(spec: BackboneSpec) -> str:
    """Return a sha256 of all that decides a backbone's architecture."""
    decides = [spec.builder, spec.arguments, list(spec.stages.items()), spec.least_size]
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def _describe(spec: BackboneSpec) -> Architecture:
    from harness.backbones.describe import build, describe

    return describe(build(spec), spec)


def _read(file: Path, digest: str) -> Architecture | None:
    """Return the architecture in ``file``; None if it has none, is damaged or is of another ``digest``."""
    try:
        record = _JSON.validate_json(file.read_bytes(), strict=True)
    except (OSError, ValidationError):
        return None
    return record.architecture if record.digest == digest else None


def _write(file: Path, record: _Record) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_name(f"{file.name}.{os.getpid()}")
    whole.write_bytes(_JSON.dump_json(record) + b"\n")
    whole.replace(file)


def _write_shipped() -> None:
    for name in shipped("backbones"):
        spec = BackboneSpec.load(name)
        _write(SHIPPED / f"{name}.json", _Record(digest_of(spec), _describe(spec)))


if __name__ == "__main__":
    _write_shipped()
