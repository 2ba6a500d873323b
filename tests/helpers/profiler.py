"""TensorFlow's own count of FLOPs, as a second opinion on ours."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import graph_util, ops

profiler = tf.compat.v1.profiler


@ops.RegisterStatistics("DepthwiseConv2dNativeBackpropFilter", "flops")
def _kernel_gradient(graph: Any, node: Any) -> Any:
    return _depthwise(graph, kernel=node.name, gradient=node.input[2])


@ops.RegisterStatistics("DepthwiseConv2dNativeBackpropInput", "flops")
def _input_gradient(graph: Any, node: Any) -> Any:
    return _depthwise(graph, kernel=node.input[1], gradient=node.input[2])


def _depthwise(graph: Any, kernel: str, gradient: str) -> Any:
    """Count what TensorFlow has no formula for: as many products as in the forward pass."""
    height, width, *_ = graph_util.tensor_shape_from_node_def_name(graph, kernel).as_list()
    values = graph_util.tensor_shape_from_node_def_name(graph, gradient).num_elements()
    return ops.OpStats("flops", 2 * height * width * values)


def profiled(function: Callable[..., Any], *shapes: tuple[int, ...]) -> float:
    """Return the FLOPs of all that the results of ``function`` need, for inputs of these shapes."""
    tf.config.run_functions_eagerly(True)  # else grouped convolutions, functions of their own, are not counted
    try:
        traced = tf.compat.v1.wrap_function(function, [tf.TensorSpec(shape) for shape in shapes]).graph
    finally:
        tf.config.run_functions_eagerly(False)
    # The trace also holds gradients that nobody asks for and TensorFlow drops before it runs.
    used = tf.compat.v1.graph_util.extract_sub_graph(traced.as_graph_def(), [o.op.name for o in traced.outputs])
    for node in used.node:
        if node.op == "ReadVariableOp":  # without the variable at hand, its shape is lost
            node.op, node.input[:] = "Placeholder", []
            node.attr["shape"].shape.CopyFrom(traced.get_operation_by_name(node.name).outputs[0].shape.as_proto())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(used, name="")
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    return float(profiler.profile(graph, options=options.with_empty_output().build()).total_float_ops)


def profiled_pass(stages: Sequence[keras.Model], shape: tuple[int, ...]) -> float:
    """Return the FLOPs of a forward pass in inference mode through ``stages``."""
    return profiled(lambda images: _run(stages, images, frozen=len(stages)), shape)


def profiled_step(stages: Sequence[keras.Model], frozen: int, shape: tuple[int, ...]) -> float:
    """Return the FLOPs of a training step of all but the first ``frozen`` stages, from the output's gradient on."""
    weights = [variable.value for stage in stages[frozen:] for variable in stage.trainable_variables]

    def step(images: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            output = _run(stages, images, frozen)
        return tape.gradient(output, weights, output_gradients=output)

    return profiled(step, shape)


def _run(stages: Sequence[keras.Model], values: Any, frozen: int) -> Any:
    for number, stage in enumerate(stages):
        values = stage(values, training=number >= frozen)
    return values
