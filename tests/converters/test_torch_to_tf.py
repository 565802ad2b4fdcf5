"""PyTorch's files without PyTorch: the reader, hostile files, and kazuto1011's DeepLab v2 as a checkpoint of v2."""

import pickletools
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.weights.weights import Weights
from converters import inspect, torch_to_tf
from converters.origins import describe_origin
from converters.torch_file import LARGEST_PICKLE, MAGIC, is_torch_file, read_torch
from tests.conftest import ROOT, damaged
from tests.helpers import torch_files
from tests.helpers.torch_files import Call, Global, dumped, state_dict, tensor, write

FORMS = ("zip", "legacy")
ARRAYS = {
    "base.conv.weight": np.arange(24, dtype="f4").reshape(4, 3, 2, 1),
    "base.conv.bias": np.arange(4, dtype="f8"),
    "half": np.array([0.5, 2], "f2"),
    "steps": np.array(7),
}
PEERS = ROOT / ".venv-bench" / "bin" / "python"


@pytest.mark.parametrize("form", FORMS)
def test_both_formats_give_the_arrays(tmp_path, form):
    path = write(tmp_path / "x.pth", ARRAYS, form)
    assert is_torch_file(path)
    read = read_torch(path)
    assert read.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        assert read[name].dtype == value.dtype
        assert np.array_equal(read[name], value)


@pytest.mark.parametrize("form", FORMS)
def test_order_of_the_sides_and_parts_of_a_storage_are_read(tmp_path, form):
    """channels_last, and a tensor that begins later in its storage."""
    value = np.arange(24, dtype="f4").reshape(2, 3, 2, 2)
    last = np.ascontiguousarray(value.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.array_equal(read_torch(write(tmp_path / "x.pth", {"w": last}, form))["w"], value)
    part = write(tmp_path / "x.pth", {"w": value}, form, offset=12, shape=(12,), strides=(1,))
    assert np.array_equal(read_torch(part)["w"], np.arange(12, 24))


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_machines_with_the_other_order_of_bytes_are_read(tmp_path, form):
    value = ARRAYS["base.conv.weight"]
    path = write(tmp_path / "x.pth", {"w": value.astype(">f4")}, form, byteorder="big")
    assert np.array_equal(read_torch(path)["w"], value)


def test_pairs_of_an_ordered_dict_of_python_2_are_read(tmp_path):
    pairs = [[name, tensor(value, str(i))] for i, (name, value) in enumerate(ARRAYS.items())]
    value = Call(Global("collections", "OrderedDict"), (pairs,))
    assert read_torch(write(tmp_path / "x.pth", ARRAYS, value=value)).keys() == ARRAYS.keys()


WEIGHT = ARRAYS["base.conv.weight"]


def hostile(folder):
    """Name -> an object that is no state dict, and what the sentence says."""
    one = {"w": tensor(WEIGHT, "0")}
    call = Call(Global("os", "system"), (f"touch {folder}/ran",))
    return {
        "call": (call, "it asks for os.system"),
        "call within": (state_dict({"w": call}), "it asks for os.system"),
        "eval": (Call(Global("builtins", "eval"), ("1",)), "it asks for builtins.eval"),
        "model": (Call(Global("__main__", "Net"), ()), "it asks for __main__.Net"),
        "list": ([1, 2], "it is no dictionary by name"),
        "numbers": (state_dict({"w": 3}), "its entry w is no array"),
        "nested": (state_dict({"state_dict": state_dict(one)}), "its entry state_dict is no array"),
        "other name": ({1: tensor(WEIGHT, "0")}, "it holds a dictionary that is none by name"),
        "class": (state_dict({"w": Call(Global("torch", "FloatStorage"), ())}), "it calls torch.FloatStorage"),
        "state": (
            state_dict({"w": Call(Global("torch._utils", "_rebuild_tensor"), one["w"].arguments, (), {})}),
            "state",
        ),
        "reference": (torch_files.Reference(("module", "x")), "it refers to something that is no storage"),
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", hostile("x"))
def test_objects_that_are_no_arrays_are_refused_unrun(tmp_path, form, name):
    value, message = hostile(tmp_path)[name]
    with pytest.raises(UserError, match="x.pth: is not a PyTorch file of arrays by name") as error:
        read_torch(write(tmp_path / "x.pth", {"w": WEIGHT}, form, value=value))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


LIES = [
    ({"count": 1 << 50}, ""),
    ({"count": 1 << 50, "shape": (1 << 50,), "strides": (1,)}, ""),
    ({"count": -1}, "it declares a storage without a type, a key or a size"),
    ({"shape": (1 << 40,), "strides": (0,)}, "does not lie in its storage without gaps"),
    ({"shape": (1 << 40, 1 << 40), "strides": (1 << 40, 1)}, "does not lie in its storage without gaps"),
    ({"strides": (6, 2, 2, 1)}, "does not lie in its storage without gaps"),
    ({"strides": (-6, 2, 1, 1)}, "an array without a storage, a shape or strides"),
    ({"shape": (4, 3), "strides": (3, 1), "offset": 20}, "does not lie in its storage without gaps"),
    ({"shape": (4, 3)}, "an array without a storage, a shape or strides"),
    ({"shape": (0, 3), "strides": (3, 1)}, "does not lie in its storage without gaps"),
    ({"shape": (1,) * 70, "strides": (1,) * 70}, "an array without a storage, a shape or strides"),
    ({"kind": "DoubleStorage"}, ""),
    ({"kind": "BFloat16Storage"}, "it asks for torch.BFloat16Storage"),
    ({"view": (("1", 0, 4),)}, "its storage 0 is a part of another"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("lie", "message"), LIES)
def test_sizes_that_are_only_claimed_are_refused(tmp_path, form, lie, message):
    with pytest.raises(UserError, match="x.pth: is not a PyTorch file of arrays by name") as error:
        read_torch(write(tmp_path / "x.pth", {"w": WEIGHT}, form, **lie))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


HEAD = MAGIC + dumped(1001) + dumped({"little_endian": True}) + torch_files.PROTOCOL
PAIRS = b"](" + b"".join(b"](X\x04\x00\x00\x00%04dNe" % i for i in range(9999)) + b"eq\x01"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (PAIRS + b"(" + b"ccollections\nOrderedDict\n(h\x01tR" * 20_000 + b"t", "it copies more entries"),
        (b"}(" + b"Nq\x00h\x00\x86" + b"q\x00h\x00\x86" * 60 + b"Nu", "a dictionary that is none by name"),
        (b"}" + b"N" + b"\x85" * 500_000 + b"Ns", "a dictionary that is none by name"),
        (b"\x8f" * 1000, "its opcode EMPTY_SET is none that torch.save writes"),
        (b"X\xff\xff\xff\x7fab", "it"),
        (b"]" * (LARGEST_PICKLE - 1000), "it is no dictionary by name"),
        (b"R", "it takes more objects than it has made"),
        (b"N" * 300_000 + b"}" + b"Nb" * 300_000, "it is no dictionary by name"),
        (b"t", ""),
        (b"h\x07", ""),
    ],
)
def test_pickles_that_would_take_much_time_or_memory_are_refused(tmp_path, body, message):
    """Copies of copies, keys that take 2^60 steps to hash or overflow the stack, sets, and lengths."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path / "x.pth").write_bytes(HEAD + body + b".")
    with pytest.raises(UserError, match="x.pth: is not a PyTorch file") as error:
        read_torch(tmp_path / "x.pth")
    assert message in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_a_compressed_or_wrong_zip_is_refused(tmp_path):
    import zipfile

    for name, message in [("archive/data.pkl", "its entries are compressed"), ("x", "it has no data.pkl")]:
        with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, b"0" * 1000)
        with pytest.raises(UserError, match=message):
            read_torch(tmp_path / "x.pth")
    with pytest.raises(UserError, match="none.pth: no such weight file"):
        read_torch(tmp_path / "none.pth")


def refused(arguments, capsys):
    assert torch_to_tf.main([str(a) for a in arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    return printed


def survive(folder, form, count, capsys):
    """Files with flipped and lost bytes: each gives one sentence and status 2, or still the same names."""
    whole, rng = write(folder / "x.pth", ARRAYS, form).read_bytes(), np.random.RandomState(2)
    for _ in range(count):
        (folder / "x.pth").write_bytes(damaged(whole, rng))
        printed = refused(["--weights", folder / "x.pth", "--out", folder / "o/c"], capsys)
        assert "x.pth: " in printed
        assert "unforeseen" not in printed
    assert not (folder / "o").exists()


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_one_sentence(tmp_path, form, capsys):
    survive(tmp_path, form, 40, capsys)


@pytest.mark.full
@pytest.mark.parametrize("form", FORMS)
def test_many_damaged_files_are_one_sentence(tmp_path, form, capsys):
    survive(tmp_path, form, 1000, capsys)


@pytest.mark.full
@pytest.mark.parametrize("form", FORMS)
def test_many_damaged_pickles_are_read_or_refused(tmp_path, form):
    """Opcodes are changed, put in and left out in a file that is whole otherwise, so that nothing else stops them."""
    whole = dumped(state_dict({name: tensor(value, str(i)) for i, (name, value) in enumerate(ARRAYS.items())}))
    rng, opcodes = np.random.RandomState(4), [ord(info.code) for info in pickletools.opcodes]
    begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2000):
        data = bytearray(damaged(whole, rng) if rng.rand() < 0.5 else whole)
        for _ in range(rng.randint(4)):
            place = rng.randint(len(data))
            data[place : place + rng.randint(3)] = rng.choice(opcodes, rng.randint(1, 4)).astype(np.uint8).tobytes()
        path = write(tmp_path / "x.pth", ARRAYS, form, value=bytes(data))
        try:
            read = read_torch(path)
        except UserError as error:
            assert "x.pth: is not a PyTorch file of arrays by name (" in str(error)
            assert "\n" not in str(error)
        else:
            assert sum(value.nbytes for value in read.values()) <= 10 * path.stat().st_size
    assert time.process_time() - begin < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.fixture(scope="module")
def kazuto():
    return torch_files.kazuto_v2(classes=7)


@pytest.fixture(scope="module")
def converted(kazuto, tmp_path_factory):
    """The file and its checkpoint."""
    folder = tmp_path_factory.mktemp("kazuto")
    path = write(folder / "v2.pth", kazuto, "legacy")
    assert torch_to_tf.main(["--weights", str(path), "--to", "v2", "--out", str(folder / "v2.ckpt")]) == 0
    return path, folder / "v2.ckpt"


# Variable of v2 -> the file's array, some of every kind and block.
SOME = {
    "conv1/weights": "base.layer1.conv1.conv.weight",
    "bn_conv1/moving_variance": "base.layer1.conv1.bn.running_var",
    "res2a_branch1/weights": "base.layer2.block1.shortcut.conv.weight",
    "bn2a_branch1/gamma": "base.layer2.block1.shortcut.bn.weight",
    "res2c_branch2a/weights": "base.layer2.block3.reduce.conv.weight",
    "res3b3_branch2b/weights": "base.layer3.block4.conv3x3.conv.weight",
    "bn3b1_branch2b/beta": "base.layer3.block2.conv3x3.bn.bias",
    "res4b22_branch2c/weights": "base.layer4.block23.increase.conv.weight",
    "bn4b7_branch2c/moving_mean": "base.layer4.block8.increase.bn.running_mean",
    "res5b_branch2b/weights": "base.layer5.block2.conv3x3.conv.weight",
    "fc1_voc12_c3/weights": "base.aspp.c3.weight",
    "fc1_voc12_c0/biases": "base.aspp.c0.bias",
}


def test_every_array_has_its_place(converted, kazuto):
    weights = Weights(converted[1])
    assert len(weights.shapes) == 1 + sum("num_batches_tracked" not in name for name in kazuto)
    for variable, name in SOME.items():
        value = kazuto[name]
        assert np.array_equal(weights.value(variable), value.transpose(2, 3, 1, 0) if value.ndim == 4 else value)
    # All others: each value of the file is in the checkpoint once.
    sums = sorted(float(v.astype("f8").sum()) for name, v in kazuto.items() if "num_batches" not in name)
    ours = sorted(float(weights.value(n).astype("f8").sum()) for n in weights.shapes if n != "recipe_json")
    np.testing.assert_allclose(ours, sums, rtol=1e-9, atol=1e-9)


def test_the_checkpoint_runs_with_its_own_recipe(converted):
    from common.nets.network import build
    from common.tf1 import session, tf
    from common.weights.checkpoints import restore
    from reproductions.v2 import REPRODUCTION

    weights = Weights(converted[1])
    recipe = REPRODUCTION.recipe_to_run([], weights)
    assert (recipe.variant, recipe.encoder, recipe.num_classes) == ("caffe_msc", "deeplab", 7)
    assert (recipe.channel_order, recipe.pixel_mean) == ("bgr", (104.008, 116.669, 122.675))
    assert recipe.batch_norm_epsilon == 1e-5
    assert recipe.msc_scales == (1.0, 0.75, 0.5)
    with tf.Graph().as_default(), session() as running:
        build(REPRODUCTION.load_network(), tf.zeros([1, 33, 33, 3]), recipe.derive(msc_scales=(1.0,)))
        assert restore(running, weights, tf.model_variables()) == len(weights.shapes) - 1


OLDER = {".shortcut.": ".proj.", "base.": "scale.", ".aspp.c": ".aspp.stages.c"}


def test_names_of_older_versions_are_the_same_network(kazuto):
    older = {}
    for name, value in kazuto.items():
        for new, old in OLDER.items():
            name = name.replace(new, old)
        older[f"module.{name}"] = value
    assert "module.scale.aspp.stages.c0.weight" in older
    variables = torch_to_tf.v2_variables(kazuto)
    for name, value in torch_to_tf.v2_variables(older).items():
        assert np.array_equal(value, variables[name])


def test_what_is_left_over_is_named(kazuto):
    arrays = {n: v for n, v in kazuto.items() if n != "base.aspp.c2.bias"} | {"base.extra.weight": WEIGHT}
    with pytest.raises(UserError) as error:
        torch_to_tf.v2_variables(arrays)
    assert "1 missing arrays: aspp.c2.bias; 1 arrays that this network does not have: base.extra.weight" in str(
        error.value
    )
    with pytest.raises(UserError, match="base.aspp.c2.bias, aspp.c2.bias are both aspp.c2.bias"):
        torch_to_tf.v2_variables(kazuto | {"aspp.c2.bias": WEIGHT})


MISSHAPEN = {
    "base.layer5.block1.conv3x3.conv.weight": np.zeros((512, 512, 1, 1), "f4"),
    "base.layer1.conv1.bn.bias": np.zeros((), "f4"),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            MISSHAPEN,
            "2 of another shape: bn_conv1/beta (scalar in the file, 64 in the network), res5a_branch2b/weights",
        ),
        ({"base.aspp.c0.bias": np.full(7, np.nan, "f4")}, "1 variables are not finite: fc1_voc12_c0/biases"),
        ({"base.aspp.c0.bias": np.zeros(7, int)}, "1 arrays hold no real numbers: fc1_voc12_c0/biases"),
    ],
)
def test_arrays_that_do_not_fit_are_named(kazuto, change, message):
    with pytest.raises(UserError) as error:
        torch_to_tf.convert_v2(kazuto | change, "caffe")
    assert message in str(error.value)


def test_wrong_arguments_are_one_sentence(converted, tmp_path, capsys):
    given = ["--weights", converted[0], "--out", tmp_path / "c", "--variant"]
    assert "error: --variant deeeplab: no such variant; did you mean deeplab" in refused([*given, "deeeplab"], capsys)
    assert "error: --variant res101: has the encoder res101" in refused([*given, "res101"], capsys)
    small = write(tmp_path / "x.pth", ARRAYS)
    printed = refused(["--weights", small, "--out", tmp_path / "c"], capsys)
    assert "x.pth: does not fit DeepLab v2 with ResNet-101: 528 missing arrays: " in printed
    assert list(tmp_path.iterdir()) == [small]


def test_inspect_names_the_program_and_the_command(converted, capsys):
    assert inspect.main([str(converted[0])]) == 0
    printed = capsys.readouterr().out
    assert "base.aspp.c0.weight" in printed
    assert "made by: kazuto1011/deeplab-pytorch\n" in printed
    assert "holds: DeepLab v2 with ResNet-101, 7 classes\n" in printed
    assert f"convert: python -m converters.torch_to_tf --weights {converted[0]} --to v2 --out CKPT\n" in printed


def test_inspect_says_when_a_file_is_of_no_known_program(tmp_path, capsys):
    assert inspect.main([str(write(tmp_path / "x.pth", ARRAYS))]) == 0
    assert "made by: no program known here; nothing here converts it\n" in capsys.readouterr().out


def test_inspect_names_a_network_that_nothing_here_reads():
    shapes = {"layer4.block23.increase.conv.weight": (1024, 256, 1, 1), "fc.weight": (91, 2048), "fc.bias": (91,)}
    assert list(describe_origin(Path("init.pth"), shapes)) == [
        "made by: kazuto1011/deeplab-pytorch",
        "holds: ResNet-101 with a classifier, from which DeepLab v2 is trained, 91 classes",
        "convert: nothing here reads it",
    ]


REFERENCE = """
import sys
import numpy as np, torch
from torch import nn
from torch.nn import functional as F

class Layer(nn.Sequential):
    def __init__(self, entering, leaving, size, stride=1, rate=1, relu=True):
        super().__init__()
        pad = rate * (size - 1) // 2
        self.conv = nn.Conv2d(entering, leaving, size, stride, pad, rate, bias=False)
        self.bn = nn.BatchNorm2d(leaving, eps=1e-5)
        if relu:
            self.relu = nn.ReLU()

class Unit(nn.Module):
    def __init__(self, entering, leaving, stride, rate, first):
        super().__init__()
        width = leaving // 4
        self.reduce = Layer(entering, width, 1, stride)
        self.conv3x3 = Layer(width, width, 3, 1, rate)
        self.increase = Layer(width, leaving, 1, relu=False)
        self.shortcut = Layer(entering, leaving, 1, stride, relu=False) if first else nn.Identity()
    def forward(self, x):
        return F.relu(self.increase(self.conv3x3(self.reduce(x))) + self.shortcut(x))

class Pyramid(nn.Module):
    def __init__(self, classes):
        super().__init__()
        for i, rate in enumerate((6, 12, 18, 24)):
            self.add_module(f"c{i}", nn.Conv2d(2048, classes, 3, 1, rate, rate))
    def forward(self, x):
        return sum(branch(x) for branch in self.children())

class Network(nn.Sequential):
    def __init__(self, classes):
        super().__init__()
        self.layer1 = nn.Sequential()
        self.layer1.add_module("conv1", Layer(3, 64, 7, 2))
        self.layer1.add_module("pool", nn.MaxPool2d(3, 2, 1, ceil_mode=True))
        entering = 64
        for layer, units, stride, rate in ((2, 3, 1, 1), (3, 4, 2, 1), (4, 23, 1, 2), (5, 3, 1, 4)):
            block = nn.Sequential()
            for unit in range(units):
                leaving = 64 << layer
                block.add_module(f"block{unit + 1}", Unit(entering, leaving, 1 if unit else stride, rate, not unit))
                entering = leaving
            self.add_module(f"layer{layer}", block)
        self.aspp = Pyramid(classes)

class Scales(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base

torch.manual_seed(0)
torch.set_num_threads(1)
model = Scales(Network(21)).eval()
for module in model.modules():
    if isinstance(module, nn.BatchNorm2d):
        for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
            tensor.uniform_(0.5, 1)
torch.save(model.state_dict(), sys.argv[1] + "/zip.pth")
torch.save(model.state_dict(), sys.argv[1] + "/legacy.pth", _use_new_zipfile_serialization=False)
picture = np.load(sys.argv[1] + "/picture.npy")
bgr = picture[..., ::-1].astype("f4") - np.array((104.008, 116.669, 122.675), "f4")
with torch.no_grad():
    scores = model.base(torch.from_numpy(bgr.transpose(2, 0, 1)[None].copy()))
np.save(sys.argv[1] + "/scores.npy", scores.numpy().transpose(0, 2, 3, 1))
"""


@pytest.mark.full
@pytest.mark.skipif(not PEERS.exists(), reason="no .venv-bench with PyTorch: make setup-bench")
def test_scores_are_those_of_pytorch(tmp_path, capsys):
    """kazuto1011's network built in PyTorch, saved in both formats, and its scores of one picture."""
    from common.nets.network import build
    from common.nets.pictures import preprocess
    from common.tf1 import session, tf
    from common.weights.checkpoints import restore
    from reproductions.v2 import REPRODUCTION
    from tests.helpers.golden_cases import relative

    picture = np.random.RandomState(3).randint(0, 256, (65, 65, 3)).astype(np.uint8)
    np.save(tmp_path / "picture.npy", picture)
    subprocess.run([PEERS, "-c", REFERENCE, str(tmp_path)], check=True, timeout=300)
    wanted = np.load(tmp_path / "scores.npy")
    for form in FORMS:
        out = tmp_path / f"{form}.ckpt"
        assert torch_to_tf.main(["--weights", str(tmp_path / f"{form}.pth"), "--out", str(out)]) == 0
        weights = Weights(out)
        recipe = REPRODUCTION.recipe_to_run([], weights).derive(msc_scales=(1.0,))
        with tf.Graph().as_default(), session() as running:
            images = preprocess(tf.constant(picture[None]), recipe)
            scores = build(REPRODUCTION.load_network(), images, recipe).logits
            restore(running, weights, tf.model_variables())
            difference = relative(running.run(scores), wanted)
        with capsys.disabled():
            sys.stdout.write(f"\n{form}: largest difference of scores {difference:.1e} of the largest score\n")
        assert difference < 1e-5
