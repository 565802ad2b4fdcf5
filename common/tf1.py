"""The only door to TensorFlow: `from common.tf1 import tf, slim`.

`tf` is `tensorflow.compat.v1` in graph mode with resource variables, `slim` is tf-slim, repaired
where it asks TensorFlow 2.21 for things that have moved. Every repair checks that it is still
needed and raises ImportError when it is not, so that none of them outlives its reason.
"""

import contextlib
import functools
import gc
import importlib.util
import inspect
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from common.console import say, step

# 2 hides notes and warnings of the runtime, keeps errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextlib.contextmanager
def without_start_up_notes() -> Iterator[None]:
    """Hold back what TensorFlow's libraries write to stderr while they load; shown if loading fails, but not on Ctrl-C.

    They log before the level above applies: four lines of no use in front of every error message.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def _without_keras():
    """Let TensorFlow load without Keras, which takes a fifth of the time and which nothing here uses.

    A program that imports Keras, or tensorflow.keras, gets it all the same, before this module or after it.
    """
    name = "keras.src.optimizers"  # what TensorFlow imports, if that can be imported
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None
    try:
        yield
    finally:
        del sys.modules[name]


@contextlib.contextmanager
def _without_collecting():
    """Let Python's garbage collector rest while TensorFlow loads, and leave what has been loaded out of later rounds.

    Nearly all of it stays to the end, and what the importing program made before is taken to stay too. Looking through
    it again and again takes a sixth of the time to a label map.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_on:
            gc.enable()


step("loading TensorFlow")
with _without_collecting(), without_start_up_notes(), _without_keras():
    import tensorflow.compat.v1 as tf
    from tensorflow.core.protobuf import rewriter_config_pb2, saved_model_pb2
    from tensorflow.python.framework import op_def_registry as _op_def_registry
    from tensorflow.python.framework import ops as _ops
    from tensorflow.python.framework import tensor as _tensor
    from tensorflow.python.ops import cond as _cond
    from tensorflow.python.ops import control_flow_ops as _control_flow_ops
step()

__all__ = [
    "graphics_cards",
    "lite_schema",
    "op_definition",
    "saved_model_pb2",
    "session",
    "slim",
    "tf",
    "without_start_up_notes",
]

tf.disable_eager_execution()
# With reference variables, a step's updates can come before gradients that still read the weights.
tf.enable_resource_variables()
tf.logging.set_verbosity(tf.logging.ERROR)


def _restore_moved_name(module: object, name: str, value: object) -> None:
    """Put `value` back where tf-slim 1.1 looks for it, unless TensorFlow has it there again."""
    if hasattr(module, name):
        raise ImportError(
            f"common/tf1.py: {module.__name__}.{name} exists again in TensorFlow {tf.__version__}; "
            f"delete the repair that sets it"
        )
    setattr(module, name, value)


# tf_slim.layers.utils and .optimizers ask `isinstance(x, ops.Tensor)`; the class moved to framework.tensor.
_restore_moved_name(_ops, "Tensor", _tensor.Tensor)
# tf_slim.layers.utils.smart_cond calls control_flow_ops.cond; the function moved to ops.cond.
_restore_moved_name(_control_flow_ops, "cond", _cond.cond)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tf_slim as slim


def _steer_batch_norm() -> None:
    """Keep slim.batch_norm on its own fused path.

    With the default `updates_collections` slim hands over to a Keras legacy layer that no published
    Keras wheel contains. The test is an identity (`is not GraphKeys.UPDATE_OPS`), so a tuple holding
    the same collection takes slim's own `_fused_batch_norm`, and updates still land in UPDATE_OPS.
    """
    original = slim.batch_norm
    if "updates_collections is not ops.GraphKeys.UPDATE_OPS" not in inspect.getsource(inspect.unwrap(original)):
        raise ImportError(
            "common/tf1.py: tf-slim's batch_norm no longer chooses its path by `updates_collections`; "
            "review the repair _steer_batch_norm"
        )
    keras = importlib.util.find_spec("keras")  # of the module within it, Python would import Keras to tell
    if keras and PathFinder.find_spec("keras.legacy_tf_layers", keras.submodule_search_locations):
        raise ImportError("common/tf1.py: keras.legacy_tf_layers exists again; delete the repair _steer_batch_norm")

    @slim.add_arg_scope
    def batch_norm(
        inputs: tf.Tensor,
        *args,
        updates_collections: str | tuple[str, ...] | None = tf.GraphKeys.UPDATE_OPS,
        **kwargs,
    ):
        if updates_collections is tf.GraphKeys.UPDATE_OPS:
            updates_collections = (tf.GraphKeys.UPDATE_OPS,)
        return original(inputs, *args, updates_collections=updates_collections, **kwargs)

    for module in (slim, slim.layers):
        module.batch_norm = batch_norm


_steer_batch_norm()


def op_definition(op: str) -> Any:
    """The definition of the op with this name; None where TensorFlow has none."""
    return _op_def_registry.get(op)


def lite_schema() -> ModuleType:
    """The classes of TensorFlow Lite's flat buffers, as its schema says."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


# What stays float32: oneDNN's gradient of a depthwise convolution's inputs takes three times as long in bfloat16, and
# the gradient of a resize (`layers.resize_bilinear`) would round the gradients of the losses.
BF16_LISTS = {"ALLOWLIST_REMOVE": "DepthwiseConv2dNativeBackpropInput,BatchMatMulV2"}

CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def _note_slow_bf16() -> None:
    """Say once that bf16 is slow here, if the CPU has no instructions for it, as far as the system tells."""
    try:
        knows_bf16 = re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", CPU_INFO.read_text())
    except OSError:
        return
    if not knows_bf16:
        say("precision=bf16: this CPU has no bfloat16 of its own; results are right, but fp32 is faster here")


# Graphics cards of 2020 and later would round the factors of products to 10 bits without a word.
tf.config.experimental.enable_tensor_float_32_execution(False)


def graphics_cards() -> list[str]:
    """The names of the graphics cards that TensorFlow sees; CUDA_VISIBLE_DEVICES chooses among them."""
    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(card).get("device_name", card.name) for card in found]


def session(graph: tf.Graph | None = None, precision: str = "fp32", devices: Sequence[str] = ()) -> tf.Session:
    """A session with the configuration `session_config`."""
    return tf.Session(graph=graph, config=session_config(precision, devices))


def session_config(precision: str = "fp32", devices: Sequence[str] = ()) -> tf.ConfigProto:
    """The configuration of a session that runs one op at a time, each on all cores.

    The same run twice gives the same bits. `devices` are those that the graph names: there are as many CPUs as it says.
    A graphics card's memory is taken as it is needed.

    With the precision `bf16` TensorFlow rewrites the graph: convolutions and what lies between them compute in
    bfloat16, variables and losses stay float32.

    With ops side by side AddN sums gradients in the order in which their buffers come free (seen:
    1e-7 in the third loss, 1e-5 in the tenth). On a CPU the order costs no time. Feed it batches:
    an iterator inside the graph continues it on a thread of its own.
    """
    config = tf.ConfigProto(inter_op_parallelism_threads=1, use_per_session_threads=True)
    config.gpu_options.allow_growth = True
    if processors := [int(device.rpartition(":")[2]) for device in devices if "cpu" in device.lower()]:
        config.device_count["CPU"] = 1 + max(processors)
    if precision == "bf16":
        _note_slow_bf16()
        for name, value in BF16_LISTS.items():
            os.environ.setdefault(f"TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_{name}", value)
        config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = (
            rewriter_config_pb2.RewriterConfig.ON
        )
    return config
