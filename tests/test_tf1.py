import os
import subprocess
import sys
import types

import numpy as np
import pytest

from common import tf1
from common.tf1 import slim, tf
from tests.conftest import ROOT


def test_graph_mode_and_resource_variables():
    assert not tf.executing_eagerly()
    with tf.Graph().as_default():
        assert tf.get_variable("v", [1]).op.type == "VarHandleOp"


@pytest.mark.parametrize(("error", "said"), [(KeyboardInterrupt, ""), (SystemExit, ""), (ImportError, "oneDNN\n")])
def test_notes_of_starting_up_are_shown_when_it_fails_and_not_when_it_is_stopped(capfd, error, said):
    with pytest.raises(error), tf1.without_start_up_notes():
        os.write(2, b"oneDNN\n")
        raise error
    assert capfd.readouterr().err == said


def test_a_repair_that_is_no_longer_needed_is_refused():
    with pytest.raises(ImportError, match="exists again"):
        tf1._restore_moved_name(types.SimpleNamespace(__name__="m", name=1), "name", 2)
    # The name is there now, by our own repair.
    with pytest.raises(ImportError, match="Tensor exists again"):
        tf1._restore_moved_name(tf1._ops, "Tensor", object)


def test_a_changed_batch_norm_is_refused(monkeypatch):
    monkeypatch.setattr(slim, "batch_norm", lambda inputs: inputs)
    with pytest.raises(ImportError, match="review the repair"):
        tf1._steer_batch_norm()


def test_the_return_of_a_legacy_layer_is_refused(tmp_path):
    (tmp_path / "keras/legacy_tf_layers").mkdir(parents=True)
    for folder in ("keras", "keras/legacy_tf_layers"):
        (tmp_path / folder / "__init__.py").touch()
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "import common.tf1"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode
    assert "keras.legacy_tf_layers exists again" in done.stderr.splitlines()[-1]


def test_keras_is_left_out_but_not_taken_away():
    """It is loaded when a program asks for it, which TensorFlow's own import would have done."""
    program = """
import sys
from common.tf1 import tf
assert "keras" not in sys.modules and "keras.src.optimizers" not in sys.modules
from tensorflow.keras.layers import Dense
import keras, tensorflow
assert Dense is keras.layers.Dense is tensorflow.keras.layers.Dense and keras.optimizers.SGD
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_keras_may_come_first():
    program = "import keras; from common.tf1 import tf; assert keras.optimizers.SGD and not tf.executing_eagerly()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_slim_batch_norm_updates_land_in_update_ops():
    """By slim's default call, and under an arg scope: mean and (unbiased) variance of the batch."""
    x = np.random.RandomState(0).randn(4, 3, 3, 2).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        with slim.arg_scope([slim.batch_norm], decay=0.0):
            slim.batch_norm(tf.constant(x), scope="bn")
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        assert len(updates) == 2
        session.run(tf.global_variables_initializer())
        session.run(updates)
        values = {v.op.name: session.run(v) for v in tf.global_variables()}
    np.testing.assert_allclose(values["bn/moving_mean"], x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(values["bn/moving_variance"], x.var((0, 1, 2), ddof=1), rtol=1e-5)


def test_slim_features_that_the_repairs_are_for():
    """smart_cond with a tensor (cond) and tensor checks (Tensor) work."""
    with tf.Graph().as_default(), tf.Session() as session:
        training = tf.placeholder(tf.bool, [])
        y = slim.batch_norm(tf.ones([2, 2, 2, 1]) * 3, is_training=training, scope="bn")
        y = slim.dropout(y, is_training=training)
        session.run(tf.global_variables_initializer())
        assert session.run(y, {training: False}).max() == pytest.approx(3, rel=1e-3)


def test_both_builds_pin_the_same():
    """requirements-gpu.txt is requirements.txt with TensorFlow's CUDA build, and nothing else."""
    lines = [
        {
            # Without the markers by which machines that have no CPU build take the other one.
            li.partition(";")[0].replace("tensorflow[and-cuda]", "tensorflow").replace("tensorflow-cpu", "tensorflow")
            for li in (ROOT / name).read_text().splitlines()
            if "==" in li
        }
        for name in ("requirements.txt", "requirements-gpu.txt")
    ]
    assert lines[0] == lines[1]


def test_bf16_computes_in_bf16_and_keeps_variables(monkeypatch, tmp_path, capsys):
    """A CPU without bfloat16 gets one note, and the same graph."""
    cpu = tmp_path / "cpuinfo"
    cpu.write_text("flags : fpu avx2 avx512f")
    monkeypatch.setattr(tf1, "CPU_INFO", cpu)
    tf1._note_slow_bf16.cache_clear()
    x = np.random.RandomState(0).randn(1, 9, 9, 8).astype(np.float32)
    with tf.Graph().as_default() as graph:
        pictures = tf.placeholder(tf.float32, x.shape)
        kernel = tf.get_variable("w", [3, 3, 8, 8], initializer=tf.initializers.he_normal(seed=1))
        scores = pictures
        for _ in range(3):  # the rewriter leaves smaller graphs as they are
            scores = tf.nn.conv2d(scores, kernel, strides=1, padding="SAME")
        found = {}
        for precision in ("fp32", "bf16", "bf16"):
            with tf1.session(graph, precision) as session:
                session.run(tf.global_variables_initializer())
                found[precision] = session.run((scores, kernel), {pictures: x})
    assert [dtype.dtype for dtype in found["bf16"]] == [np.float32, np.float32]
    np.testing.assert_array_equal(found["bf16"][1], found["fp32"][1])
    differences = np.abs(found["bf16"][0] - found["fp32"][0])
    assert 0 < differences.max() < 0.03 * np.abs(found["fp32"][0]).max()
    assert capsys.readouterr().err.count("no bfloat16 of its own") == 1
    tf1._note_slow_bf16.cache_clear()


def test_the_garbage_collector_rests_only_while_tensorflow_loads():
    done = subprocess.run(
        [sys.executable, "-c", "import common.tf1, gc; print(gc.isenabled(), gc.get_freeze_count() > 100_000)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "True True\n"
