"""Any Keras backbone as stages: building it, cutting it into stages, counting what each costs."""

import importlib
import inspect
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import keras
from keras.src.backend.common import global_state

from harness.backbones.layer_costs import work_of
from harness.backbones.preprocessing import CHANNELS_LAST
from harness.backbones.stages import RGB, Architecture, Side, Stage, Term
from harness.core.backbone import BackboneSpec
from harness.core.errors import SpecError
from harness.core.validation import nearest


def build(spec: BackboneSpec) -> keras.Model:
    """Build a backbone for images of any size, with random weights.

    Raises:
        SpecError: If its builder cannot be imported, does not take its arguments, or returns no functional model.
    """
    where = f"backbone {spec.name!r}: builder {spec.builder!r}"
    module, _, name = spec.builder.rpartition(".")
    try:
        builder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"{where} cannot be imported ({error}): name a function, as package.module.function") from None
    given = {"input_shape": (None, None, RGB), "weights": None, "include_top": False}
    if taken := sorted(given.keys() & spec.arguments.keys()):
        raise SpecError(f"backbone {spec.name!r}: arguments.{taken[0]} is set by the harness: remove it")
    try:
        call = inspect.signature(builder).bind(**given, **spec.arguments)
        with as_in_a_new_process():
            model = builder(*call.args, **call.kwargs)
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SpecError(f"{where} cannot be called: {reason}: change arguments, or name another function") from None
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1 or len(model.outputs) != 1:
        raise SpecError(f"{where} returns no functional keras.Model of one input and one output: name another function")
    return keras.Model(model.inputs[0], model.outputs[0], name=spec.name)


def split(model: keras.Model, outputs: Mapping[str, str]) -> list[keras.Model]:
    """Cut a functional ``model`` into stages.

    Args:
        outputs: Stage -> the layer whose output ends it, first to last.

    Returns:
        A functional model for each stage, from the output of the stage before it, or from the image, to its own. They
        share the layers of ``model``.

    Raises:
        SpecError: Naming the stage whose layer does not exist or is out of order, or where more than one tensor
            crosses from a stage to later ones.
    """
    layers = {layer.name: layer for layer in model.operations}
    stages: list[keras.Model] = []
    last, start = "", model.inputs[0]
    for stage, layer in outputs.items():
        if layer not in layers:
            raise SpecError(f"stage {stage!r}: {model.name} has no layer {layer!r}{nearest(layer, layers)}")
        end = layers[layer].output
        if end is start or id(_call(start)) not in _calls(end):
            before = f"the end of stage {last!r}" if last else "the image"
            raise SpecError(
                f"stage {stage!r}: layer {layer!r} does not come after {before}: give stages in their order"
            )
        earlier = _calls(start)
        for call in _calls(end, start).values():
            around = [tensor for tensor in call.input_tensors if tensor is not start and id(_call(tensor)) in earlier]
            if id(call) not in earlier and around:
                raise SpecError(
                    f"stage {last!r}: more than one tensor crosses its end {outputs[last]!r}, as later layers also use "
                    f"the output of {_call(around[0]).operation.name!r}: end it where all branches have joined"
                )
        stages.append(keras.Model(start, end, name=stage))
        last, start = stage, end
    return stages


def describe(model: keras.Model, spec: BackboneSpec) -> Architecture:
    """Return ``model`` as stages with what each costs.

    Raises:
        SpecError: As `split`; naming a layer whose costs are not known; or for a least size that is too small.
    """
    stages: list[Stage] = []
    side = Side()
    try:
        for part in split(model, spec.stages):
            stages.append(_stage(part, side))
            side = stages[-1].side
    except SpecError as error:
        raise SpecError(f"backbone {spec.name!r}: {error}") from None
    empty = [stage for stage in stages if not stage.side.at(spec.least_size)]
    if empty:
        least = next(size for size in count(spec.least_size) if all(stage.side.at(size) for stage in stages))
        raise SpecError(
            f"backbone {spec.name!r}: least_size {spec.least_size} leaves nothing of the map of stage "
            f"{empty[0].name!r}: give {least} or more"
        )
    return Architecture(tuple(stages))


@contextmanager
def as_in_a_new_process() -> Iterator[None]:
    """Have Keras number the layers without a name from 0, whatever was built before, since stages refer to them; and
    have channels last, whatever the user's settings are."""
    numbers = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", defaultdict(int))
    order = keras.config.image_data_format()  # the user's keras.json may have another
    keras.config.set_image_data_format(CHANNELS_LAST)
    try:
        yield
    finally:
        keras.config.set_image_data_format(order)
        global_state.set_global_attribute("object_name_uids", numbers)


def _call(tensor: Any) -> Any:
    """Return the call of a layer that made a symbolic tensor, a node in Keras's graph."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def _calls(end: Any, start: Any = None) -> dict[int, Any]:
    """Return the calls that lead to the tensor ``end``, by identity, without going back beyond ``start``."""
    found: dict[int, Any] = {}
    waiting = [end]
    while waiting:
        tensor = waiting.pop()
        if tensor is not start and id(call := _call(tensor)) not in found:
            found[id(call)] = call
            waiting += call.input_tensors
    return found


@dataclass(frozen=True, slots=True)
class _Map:
    """A tensor: its channels, its side (None for a vector), and whether weights of its stage lead to it."""

    channels: int
    side: Side | None
    trains: bool = False


class _Tally:
    """FLOPs added up by the side of the map that they are counted for."""

    def __init__(self) -> None:
        self._sums: dict[Side | None, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, at: Side | None, forward: int = 0, weight_gradient: int = 0, input_gradient: int = 0) -> None:
        for i, flops in enumerate((forward, weight_gradient, input_gradient)):
            self._sums[at][i] += flops

    def add_gradient(self, of: _Map, at: Side | None, flops: int) -> None:
        """Add the gradient with respect to a tensor: weights before it in its stage need it, else only the input."""
        self.add(at, weight_gradient=flops if of.trains else 0, input_gradient=0 if of.trains else flops)

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple(Term(side, *sums) for side, sums in self._sums.items() if any(sums))


def _stage(model: keras.Model, side: Side) -> Stage:
    tally = _Tally()
    end = _count(model, [_Map(model.inputs[0].shape[-1], side)], tally)
    if end.side is None:
        raise SpecError(f"stage {model.name!r} ends in a vector: end it before the map is pooled")
    weights = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    return Stage(model.name, end.channels, end.side, weights, tally.terms)


def _count(model: keras.Model, inputs: Sequence[_Map], tally: _Tally) -> _Map:
    """Add what the layers of a functional ``model`` cost to ``tally``, and return its output."""
    graph = keras.Model(model.inputs, model.outputs)  # of a Sequential too
    calls = [call for depth in sorted(graph._nodes_by_depth, reverse=True) for call in graph._nodes_by_depth[depth]]
    maps = {id(tensor): given for tensor, given in zip(graph.inputs, inputs, strict=True)}
    uses = Counter(id(tensor) for call in calls for tensor in call.input_tensors)
    for call in calls:
        if call.is_input:
            continue
        given = [maps[id(tensor)] for tensor in call.input_tensors]
        output = call.outputs[0]
        maps[id(output)] = _apply(call.operation, given, output.shape[-1], tally)
    for tensor, times in uses.items():  # gradients of a tensor that is used several times are added
        tally.add_gradient(maps[tensor], maps[tensor].side, (times - 1) * maps[tensor].channels)
    return maps[id(graph.outputs[0])]


def _apply(layer: Any, given: Sequence[_Map], channels: int, tally: _Tally) -> _Map:
    if isinstance(layer, keras.Model):
        return _count(layer, given, tally)
    work = work_of(layer, [one.side for one in given], channels)
    tally.add(work.at, forward=work.forward, weight_gradient=work.weight_gradient)
    for one, gradient in zip(given, work.input_gradients, strict=True):
        tally.add_gradient(one, work.at, gradient)
    trains = bool(getattr(layer, "trainable_variables", ())) or any(one.trains for one in given)
    return _Map(channels, work.output, trains)
