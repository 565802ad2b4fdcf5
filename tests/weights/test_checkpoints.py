import zipfile

import numpy as np
import pytest

from common.errors import LONGEST_MESSAGE, UserError
from common.tf1 import tf
from common.weights import checkpoint_files, checkpoints
from common.weights.checkpoints import describe_difference, restore
from common.weights.weights import Weights

VALUES = {"a/weights": np.arange(6, dtype=np.float32).reshape(2, 3), "a/biases": np.ones(3, np.float32)}


@pytest.fixture
def variables():
    with tf.Graph().as_default(), tf.Session() as session:
        made = [tf.get_variable(n, v.shape) for n, v in VALUES.items()]
        session.run(tf.global_variables_initializer())
        yield session, made


def write(folder, session, made, extra=(), name="x"):
    session.run([v.initializer for v in made], {v.initializer.inputs[1]: VALUES[v.op.name] for v in made})
    session.run([v.initializer for v in extra])
    np.savez(folder / f"{name}.npz", **VALUES, **{v.op.name: session.run(v) for v in extra})
    for suffix, version in (("v2", tf.train.SaverDef.V2), ("v1", tf.train.SaverDef.V1)):
        saver = tf.train.Saver([*made, *extra], write_version=version)
        saver.save(session, str(folder / f"{name}.{suffix}"), write_meta_graph=False, write_state=False)
    return [folder / f"{name}.{s}" for s in ("npz", "v2", "v1")]


def test_every_format_restores_the_same(tmp_path, variables):
    session, made = variables
    for path in [*write(tmp_path, session, made), tmp_path / "x.v2.index", tmp_path / "x.v2.data-00000-of-00001"]:
        session.run(tf.global_variables_initializer())
        assert restore(session, Weights(path), made) == 2
        for v in made:
            assert np.array_equal(session.run(v), VALUES[v.op.name]), path


def test_missing_extra_and_misshapen_are_all_listed(tmp_path, variables):
    session, made = variables
    np.savez(tmp_path / "w.npz", **{"a/weights": np.zeros((2, 2)), "b/weights": np.zeros(1), "c": np.zeros(())})
    with pytest.raises(UserError) as error:
        restore(session, Weights(tmp_path / "w.npz"), made)
    message = str(error.value)
    assert "1 missing in the file: a/biases" in message
    assert "2 extra in the file: b/weights, c" in message
    assert "a/weights (2x2 in the file, 2x3 in the network)" in message
    assert describe_difference({"a": (1,)}, {"a": (1,)}) == ""


def test_named_exceptions_are_left_alone(tmp_path, variables):
    session, made = variables
    np.savez(tmp_path / "w.npz", **{"a/weights": VALUES["a/weights"], "logits/weights": np.zeros(5)})
    assert restore(session, Weights(tmp_path / "w.npz"), made, ["^a/biases$", "^logits/"]) == 1


def test_training_state_of_the_original_is_no_weight(tmp_path, variables):
    """Momentum slots, Adam's, accumulators and the step lie beside the weights in its checkpoints."""
    session, made = variables
    names = ("a/weights/Momentum", "Variable", "Variable_7", "global_step", "beta1_power", "a/weights/Adam_1")
    extra = [tf.get_variable(n, [1]) for n in names]
    for path in write(tmp_path, session, made, extra):
        weights = Weights(path)
        assert weights.names() == set(VALUES)
        assert restore(session, weights, made) == 2


def test_unreadable_files_are_one_sentence(tmp_path, variables):
    session, made = variables
    npz, v2, v1 = write(tmp_path, session, made)
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "cut.npz").write_bytes(npz.read_bytes()[:200])
    (tmp_path / "pickle.npz").write_bytes(b"\x80\x04N.")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    (tmp_path / "text").write_text("hello")
    (tmp_path / "cut.v1").write_bytes(v1.read_bytes()[:60])
    (tmp_path / "lone.index").write_bytes((tmp_path / "x.v2.index").read_bytes())
    for name in ("text.npz", "cut.npz", "pickle.npz", "objects.npz", "text", "cut.v1", "lone", "none", "none.npz"):
        with pytest.raises(UserError) as error:
            weights = Weights(tmp_path / name)
            restore(session, weights, made)
        assert name in str(error.value), name
        assert "\n" not in str(error.value), name
    with pytest.raises(UserError, match="folder without checkpoints"):
        Weights(tmp_path)


def test_damaged_values_are_noticed(tmp_path, variables):
    session, made = variables
    _, v2, _ = write(tmp_path, session, made)
    data = tmp_path / "x.v2.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:4])
    with pytest.raises(UserError, match="cannot be read"):
        restore(session, Weights(v2), made)


def test_save_keeps_the_newest_and_leaves_no_temporaries(tmp_path, variables):
    session, made = variables
    session.run(tf.global_variables_initializer())
    saver = tf.train.Saver(made, max_to_keep=0)
    for step in (8, 9, 10, 11):
        checkpoints.save(session, saver, tmp_path, step, keep=2)
    assert [p.name for p in checkpoint_files.checkpoints(tmp_path)] == ["model.ckpt-10", "model.ckpt-11"]
    assert len(list(tmp_path.iterdir())) == 4
    assert checkpoint_files.newest_checkpoint(tmp_path / "none") is None
    with pytest.raises(UserError, match="did you mean .*model.ckpt-11"):
        Weights(tmp_path)


def test_data_without_an_index_is_no_checkpoint(tmp_path):
    """What a process killed between the two renames leaves."""
    (tmp_path / "model.ckpt-5.data-00000-of-00001").write_bytes(b"x")
    assert checkpoint_files.newest_checkpoint(tmp_path) is None


def test_digest_follows_the_content(tmp_path, variables):
    session, made = variables
    files = write(tmp_path, session, made)
    digests = {Weights(f).digest() for f in files}
    assert len(digests) == 3
    assert all(len(d) == 64 for d in digests)
    assert Weights(files[1]).digest() == Weights(tmp_path / "x.v2.index").digest()


BROKEN = {
    "nan": (np.array([1, np.nan, 1], np.float32), "not finite (1 of 3)"),
    "infinite": (np.array([np.inf, -np.inf, 1], np.float32), "not finite (2 of 3)"),
    "too large for float32": (np.array([1e300, 1, 1]), "not finite (1 of 3)"),
    "complex": (np.ones(3, np.complex64), "complex numbers"),
    "boolean": (np.ones(3, bool), "true and false"),
    "text": (np.array(["a", "b", "c"]), "text or objects"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("suffix", ["npz", "v1", "v2"])
def test_weights_that_are_not_real_and_finite_are_refused(tmp_path, variables, kind, suffix):
    """A network of such numbers gives label maps all the same, and they were scored and recorded."""
    session, made = variables
    value, reason = BROKEN[kind]
    path = tmp_path / f"w.{suffix}"
    if suffix == "npz":
        np.savez(path, **{**VALUES, "a/biases": value})
    else:
        values = {**VALUES, "a/biases": value.astype(object) if value.dtype.kind == "U" else value}
        fed = {
            tf.placeholder(tf.as_dtype(v.dtype) if v.dtype != object else tf.string, v.shape): v
            for v in values.values()
        }
        if suffix == "v1":
            saved = tf.raw_ops.Save(filename=str(path), tensor_names=list(values), data=list(fed))
        else:
            saved = tf.raw_ops.SaveV2(
                prefix=str(path), tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=list(fed)
            )
        session.run(saved, fed)
    with pytest.raises(UserError) as error:
        restore(session, Weights(path), made)
    assert "'a/biases'" in str(error.value)
    assert reason in str(error.value)
    assert path.name in str(error.value)


def test_a_checkpoint_of_such_values_is_not_written(tmp_path):
    with pytest.raises(UserError, match="'a/weights' holds values that are not finite"):
        checkpoints.write(tmp_path / "model.ckpt", {"a/weights": np.array([np.nan], np.float32)})
    assert not list(tmp_path.iterdir())


def test_half_precision_and_whole_numbers_are_real(tmp_path, variables):
    session, made = variables
    np.savez(tmp_path / "w.npz", **{"a/weights": VALUES["a/weights"].astype(np.float16), "a/biases": np.ones(3, int)})
    assert restore(session, Weights(tmp_path / "w.npz"), made) == 2
    for v in made:
        assert np.array_equal(session.run(v), VALUES[v.op.name])


SLOTS = (
    "RMSProp",
    "RMSProp_1",
    "Momentum",
    "Adam",
    "Adam_1",
    "Adagrad",
    "Adadelta_1",
    "Ftrl",
    "ExponentialMovingAverage",
)


def slim_file(folder):
    """The names of slim's ImageNet checkpoints: weights, their averages, RMSProp's slots."""
    values = VALUES | {f"{n}/{slot}": v + 1 for n, v in VALUES.items() for slot in SLOTS}
    np.savez(folder / "slim.npz", **values, global_step=np.array(7))
    return Weights(folder / "slim.npz")


def test_slots_and_averages_of_slims_programs_are_no_weights(tmp_path, variables):
    session, made = variables
    weights = slim_file(tmp_path)
    assert weights.names() == set(VALUES)
    assert len(weights.averages()) == 2
    assert restore(session, weights, made) == 2
    for v in made:
        assert np.array_equal(session.run(v), VALUES[v.op.name])


def test_averages_are_taken_when_they_are_asked_for(tmp_path, variables):
    session, made = variables
    weights = slim_file(tmp_path)
    assert weights.take_averages() == 2
    assert restore(session, weights, made) == 2
    for v in made:
        assert np.array_equal(session.run(v), VALUES[v.op.name] + 1)


def test_a_message_names_twenty_variables_and_counts_the_others(tmp_path, variables):
    session, made = variables
    np.savez(tmp_path / "w.npz", **VALUES, **{f"layer_{i:04d}/weights": np.zeros(1) for i in range(3000)})
    with pytest.raises(UserError, match="3000 extra in the file: layer_0000/weights, .* and 2980 more$") as error:
        restore(session, Weights(tmp_path / "w.npz"), made)
    assert len(str(error.value)) < 1000


def test_a_message_of_long_names_keeps_within_bounds(tmp_path, variables):
    session, made = variables
    np.savez(tmp_path / "w.npz", **VALUES, **{f"{'long' * 100}_{i:03d}/weights": np.zeros(1) for i in range(200)})
    with pytest.raises(UserError, match=r"200 extra in the file: longlong.*\.\.\. and 19[67] more$") as error:
        restore(session, Weights(tmp_path / "w.npz"), made)
    assert len(str(error.value)) < LONGEST_MESSAGE


def test_what_lies_beside_a_checkpoint_names_it(tmp_path, variables):
    """The text file `checkpoint`, its folder, the graph, moved from where TensorFlow wrote them."""
    session, made = variables
    folder = tmp_path / "zoo"
    folder.mkdir()
    saver = tf.train.Saver(made)
    prefix = folder / "model.ckpt-30"
    session.run(tf.global_variables_initializer())
    saver.save(session, str(prefix), write_state=False)
    assert Weights(folder).path == Weights(f"{prefix}.meta").path == prefix
    (folder / "frozen_inference_graph.pb").write_bytes(b"\n\x01")
    (folder / "checkpoint").write_text('model_checkpoint_path: "/home/me/other/model.ckpt-30"\n')
    assert Weights(folder / "checkpoint").path == Weights(folder).path == prefix
    saver.save(session, str(folder / "model.ckpt-9"), write_state=False, write_meta_graph=False)
    assert Weights(folder).path == prefix
    (folder / "renamed").write_text('model_checkpoint_path: "model.ckpt-9"\nall_model_checkpoint_paths: "x"\n')
    assert Weights(folder / "renamed").path.name == "model.ckpt-9"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("frozen_inference_graph.pb", b"\n\x01", "is a graph with its weights in it"),
        ("weights.pth", b"PK", "is PyTorch's"),
        ("net.caffemodel", b"\n", "is Caffe's; converters/README.md"),
        ("model.tar.gz", b"\x1f\x8b", "is an archive; unpack it"),
        ("checkpoint", b'model_checkpoint_path: "gone-5"\n', "names the checkpoint gone-5, which is not beside it"),
        ("checkpoint", b"hello", "is no checkpoint, nor the text file that names one"),
        ("model.ckpt-5.meta", b"\n", "its .index and .data files are missing"),
    ],
)
def test_what_is_no_checkpoint_is_told_what_it_is(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        Weights(tmp_path / name)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_of_several_checkpoints_names_them(tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / f"{name}.index").write_bytes(b"x")
    with pytest.raises(UserError, match="and with 2 others; name one: a.ckpt, b.ckpt"):
        Weights(tmp_path)


@pytest.mark.parametrize("name", ["run [1]", "st*r?", "Grüße", "b\udcd6\udcd0"])
def test_paths_that_tensorflow_takes_for_patterns(tmp_path, variables, name):
    """V2 and V1, read and written, in a folder and under a file name of brackets, stars, or bytes that are no UTF-8."""
    session, made = variables
    folder = tmp_path / name
    folder.mkdir()
    for source in write(tmp_path, session, made):
        for file in tmp_path.glob(f"{source.name}*"):
            (folder / file.name.replace("x.", f"{name}.")).write_bytes(file.read_bytes())
        weights = Weights(folder / source.name.replace("x.", f"{name}."))
        assert restore(session, weights, made) == 2
        assert weights.path.parent == folder
    checkpoints.write(folder / f"{name}.ckpt", VALUES)
    assert Weights(folder / f"{name}.ckpt").names() == set(VALUES)
    saver = tf.train.Saver(made, max_to_keep=0)
    assert checkpoints.save(session, saver, folder, 3, keep=1).parent == folder
    assert checkpoint_files.newest_checkpoint(folder).name == "model.ckpt-3"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_single_array_is_no_npz(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(UserError, match="a.npz: is not a readable .npz file .it is a single array"):
        Weights(tmp_path / "a.npz")


def test_an_npz_that_declares_more_than_it_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(300 << 20))
    with pytest.raises(UserError, match="bomb.npz: is not a readable .npz file .it declares 314572800 bytes"):
        Weights(tmp_path / "bomb.npz")


@pytest.mark.parametrize("stored", [
    np.array("[" * 100_000), np.array(["a", "b"]), np.ones(3, np.float32), np.array("5"), np.array("{"),
])  # fmt: skip
def test_a_stored_recipe_of_another_kind_is_one_sentence(tmp_path, stored):
    np.savez(tmp_path / "w.npz", w=np.ones(3, np.float32), recipe_json=stored)
    with pytest.raises(UserError, match="w.npz: its recipe, recipe_json, is not JSON"):
        Weights(tmp_path / "w.npz").recipe()


def test_an_npz_packed_by_an_unknown_method_is_one_sentence(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.ones(3, np.float32))
    data = bytearray((tmp_path / "w.npz").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # where an entry names its compression
        start = data.index(signature) + offset
        data[start : start + 2] = b"\x63\x00"
    (tmp_path / "w.npz").write_bytes(data)
    with pytest.raises(UserError, match="w.npz: is not a readable .npz file"):
        Weights(tmp_path / "w.npz")
