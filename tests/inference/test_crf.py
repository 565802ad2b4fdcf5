import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.data.masks import read_image
from common.data.sets.voc import VOC2012
from common.errors import UserError
from common.inference import crf, permutohedral
from common.inference.crf import CrfParameters, dense_crf
from common.inference.permutohedral import PermutohedralLattice
from tests.bench.crf import pydensecrf_marginals, soft_probabilities
from tests.conftest import ROOT


def picture(height=12, width=14, classes=3, seed=0):
    """Two smooth areas with an edge at a slant, and probabilities that miss it by two pixels."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    image = np.where((x + y // 3 < width // 2)[..., None], (200, 60, 40), (50, 90, 160)) + rng.randint(-4, 5, 3)
    image = (image + rng.randint(-3, 4, (height, width, 3))).astype(np.uint8)
    left = np.where(x + y // 3 < width // 2 + 2, 1.0, -1.0)
    scores = np.stack([left] + [-left] * (classes - 1), axis=-1) + 0.5 * rng.randn(height, width, classes)
    values = np.exp(scores).astype(np.float32)
    return image, values / values.sum(axis=-1, keepdims=True)


def exact_kernel(features):
    """exp(-|f_i - f_j|^2 / 2) for every pair, float64 [points, points]."""
    difference = features[:, None].astype(np.float64) - features[None]
    return np.exp(-0.5 * (difference**2).sum(axis=-1))


def exact_crf(image, probabilities, parameters):
    """The same mean field with all pairs summed one by one."""
    height, width, classes = probabilities.shape
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    position, colour = np.stack([x, y], axis=1), image.reshape(-1, 3).astype(np.float64)
    message = 0
    for features, weight in (
        (position / parameters.gaussian_sxy, parameters.gaussian_compat),
        (
            np.hstack([position / parameters.bilateral_sxy, colour / parameters.bilateral_srgb]),
            parameters.bilateral_compat,
        ),
    ):
        kernel = exact_kernel(features)
        root = np.sqrt(kernel.sum(axis=1))
        message = message + weight * kernel / root[:, None] / root
    unary = np.log(np.clip(probabilities.astype(np.float64), 1e-5, 1)).reshape(-1, classes)
    values = np.exp(unary)
    for step in range(parameters.iterations + 1):
        if step:
            values = np.exp(unary + message @ values)
        values /= values.sum(axis=1, keepdims=True)
    return values.reshape(probabilities.shape)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_filter_approximates_gaussian_sums(dimensions):
    rng = np.random.RandomState(0)
    features = rng.randn(300, dimensions).astype(np.float32)
    values = np.abs(rng.randn(300, 4)).astype(np.float32)
    exact, ours = exact_kernel(features) @ values, PermutohedralLattice(features).filter(values)
    assert ours.dtype == np.float32
    assert ours.shape == values.shape
    ratio = ours / exact
    # One common factor is free; the rest is the lattice's interpolation, as the paper has it.
    assert ratio.std() / ratio.mean() < 0.25
    assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_simplex_holds_its_point(dimensions):
    features = (3 * np.random.RandomState(1).randn(200, dimensions)).astype(np.float32)
    cells, weights = permutohedral._cells(features)
    keys, index, steps = permutohedral._vertices(cells)
    axes, keys = dimensions + 1, keys[index]
    assert weights.min() > -1e-5
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert all(len(set(row)) == axes for row in keys)
    assert steps.sum() == 0
    # A key is linear in the vertex, so the same sum over the point's coordinates is the mean of its vertices' keys.
    elevated = axes * permutohedral._elevated(features).astype(np.float64)
    assert np.allclose(elevated.sum(axis=0), 0, atol=1e-4)
    strides = (steps[-1] - steps) / axes
    assert np.allclose((weights * keys).sum(axis=1), strides @ elevated, atol=1e-4 * abs(strides).max())


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_ranks_of_ties_follow_the_axes(dimensions):
    residual = np.random.RandomState(3).randint(-2, 3, (dimensions + 1, 500)).astype(np.float32)
    ranks = permutohedral._ranks(residual)
    assert np.array_equal(np.argsort(ranks, axis=0), np.argsort(-residual, axis=0, kind="stable"))
    assert np.array_equal(permutohedral._descending(residual.copy()), -np.sort(-residual, axis=0))


def test_blur_adds_half_of_both_neighbours():
    vertices = np.unique(np.random.RandomState(4).randint(0, 300, 200))
    distance = vertices[:, None] - vertices
    for step in (1, 7, -7):
        expected = (distance == 0) + 0.5 * (abs(distance) == abs(step))
        assert np.array_equal(permutohedral._blur(vertices, step).toarray(), expected)


@pytest.mark.parametrize("block", [1, 7, 167, 168, 169])
def test_marginals_do_not_depend_on_the_blocks(monkeypatch, block):
    image, probabilities = picture()
    expected = dense_crf(image, probabilities)
    monkeypatch.setattr(permutohedral, "BLOCK", block)
    assert np.array_equal(dense_crf(image, probabilities), expected)


def test_scale_weighs_both_sides():
    rng = np.random.RandomState(2)
    features, values = rng.randn(50, 3).astype(np.float32), rng.randn(50, 2).astype(np.float32)
    factors = rng.rand(50).astype(np.float32)
    lattice = PermutohedralLattice(features)
    expected = factors[:, None] * lattice.filter(factors[:, None] * values)
    lattice.scale(factors)
    assert np.allclose(lattice.filter(values), expected, atol=1e-5)


def test_too_many_standard_deviations_are_refused():
    features = np.array([[0] * 5, [1e6] * 5], np.float32)
    with pytest.raises(UserError, match="standard deviations are too small"):
        PermutohedralLattice(features)


def test_against_exact_sums():
    image, probabilities = picture()
    for parameters in (
        CrfParameters(),
        CrfParameters(bilateral_sxy=5, bilateral_srgb=13),
        CrfParameters(bilateral_compat=0),
        CrfParameters(gaussian_compat=0, bilateral_sxy=5, iterations=3),
    ):
        ours, exact = dense_crf(image, probabilities, parameters), exact_crf(image, probabilities, parameters)
        assert abs(ours - exact).mean() < 0.01
        assert (ours.argmax(axis=2) == exact.argmax(axis=2)).mean() > 0.99
        assert abs(ours - probabilities).mean() > 0.1  # it did something


def test_no_iterations_and_no_kernels_give_the_probabilities():
    image, probabilities = picture()
    for parameters in (CrfParameters(iterations=0), CrfParameters(gaussian_compat=0, bilateral_compat=0)):
        assert np.allclose(dense_crf(image, probabilities, parameters), probabilities, atol=1e-5)


@pytest.mark.parametrize("classes", [1, 2, 21])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5)])
def test_constant_pictures(size, classes):
    probabilities = np.random.RandomState(0).dirichlet(np.ones(classes), size).astype(np.float32)
    marginals = dense_crf(np.full((*size, 3), 77, np.uint8), probabilities)
    assert marginals.shape == probabilities.shape
    assert marginals.dtype == np.float32
    assert np.allclose(marginals.sum(axis=2), 1, atol=1e-5)
    assert marginals.min() >= 0
    if classes == 1:
        assert np.allclose(marginals, 1)


def test_certain_pixels():
    image, probabilities = picture()
    certain = np.eye(3, dtype=np.float32)[probabilities.argmax(axis=2)]
    marginals = dense_crf(image, certain)
    assert np.isfinite(marginals).all()
    assert np.allclose(marginals.sum(axis=2), 1, atol=1e-5)
    assert np.array_equal(dense_crf(image, certain), marginals)  # the same input, the same bits


def test_great_weights_do_not_overflow():
    image, probabilities = picture()
    marginals = dense_crf(image, probabilities, CrfParameters(gaussian_compat=1e4, bilateral_compat=1e4))
    assert np.allclose(marginals.sum(axis=2), 1, atol=1e-5)


def test_mirrored_input_gives_mirrored_output():
    # The lattice itself has no mirror symmetry, so this holds as closely as the lattice approximates.
    image, probabilities = picture(40, 50)
    straight = dense_crf(image, probabilities)
    mirrored = dense_crf(image[:, ::-1], probabilities[:, ::-1])[:, ::-1]
    assert abs(straight - mirrored).mean() < 0.01
    assert (straight.argmax(axis=2) == mirrored.argmax(axis=2)).mean() > 0.99


def test_wrong_arrays_are_refused():
    image, probabilities = picture()
    with pytest.raises(ValueError, match="image: needs uint8"):
        dense_crf(image.astype(np.float32), probabilities)
    for wrong in (probabilities[:-1], probabilities[..., 0], probabilities[..., :0]):
        with pytest.raises(ValueError, match="probabilities: needs"):
            dense_crf(image, wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": -1}, {"iterations": 1001},
        {"iterations": 2.0}, {"iterations": True}, {"gaussian_sxy": 0}, {"bilateral_sxy": -1},
        {"bilateral_srgb": float("nan")}, {"gaussian_compat": -0.1}, {"bilateral_compat": float("inf")},
        {"gaussian_sxy": "3"},
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(UserError, match=f"^{next(iter(wrong))}="):
        CrfParameters(**wrong)


def assert_parity(image, probabilities, parameters):
    ours, theirs = (run(image, probabilities, parameters) for run in (dense_crf, pydensecrf_marginals))
    assert (ours.argmax(axis=2) == theirs.argmax(axis=2)).mean() >= 0.995
    assert abs(ours - theirs).mean() <= 1e-4


@pytest.mark.parametrize(
    "parameters",
    [CrfParameters(), CrfParameters(bilateral_sxy=20, bilateral_srgb=13, bilateral_compat=10, iterations=5)],
)
def test_parity_on_a_drawn_picture(parameters):
    pytest.importorskip("pydensecrf")
    assert_parity(*picture(60, 80), parameters)


@pytest.mark.parametrize("number", range(10))
def test_parity_on_real_pictures(voc_subset, number):
    pytest.importorskip("pydensecrf")
    path = sorted((voc_subset / "SegmentationClassAug").glob("*.png"))[number * 100]
    image = read_image(voc_subset / "JPEGImages" / f"{path.stem}.jpg")
    assert_parity(image, soft_probabilities(np.asarray(Image.open(path)), seed=number), CrfParameters())


@pytest.fixture
def files(tmp_path):
    """A picture, its probabilities, and the command line that reads them."""
    image, probabilities = picture()
    Image.fromarray(image).save(tmp_path / "photo.png")
    np.save(tmp_path / "p.npy", probabilities)
    out = tmp_path / "out"
    return tmp_path, ["--image", f"{tmp_path}/photo.png", "--probabilities", f"{tmp_path}/p.npy", "--out", f"{out}"]


def test_command_line(files, capsys):
    folder, arguments = files
    assert crf.main([*arguments, "--iterations", "3", "--bilateral-srgb", "5.5", "--save-marginals"]) == 0
    expected = dense_crf(*picture(), CrfParameters(iterations=3, bilateral_srgb=5.5))
    assert np.array_equal(np.load(folder / "out/photo.npy"), expected)
    with Image.open(folder / "out/photo.png") as label:
        assert label.mode == "P"
        assert label.getpalette()[:63] == [v for colour in VOC2012.palette for v in colour]
        assert np.array_equal(np.asarray(label), expected.argmax(axis=2))
    assert capsys.readouterr().out.strip() == str(folder / "out/photo.png")


def test_command_line_needs_no_tensorflow(files):
    folder, arguments = files
    program = f"import sys; from common.inference import crf; s = crf.main({arguments!r})"
    code = f"{program}; sys.exit(s or 'tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert [p.name for p in (folder / "out").iterdir()] == ["photo.png"]


def probabilities_file(make):
    """Writes make(good probabilities) over p.npy."""
    return lambda folder: np.save(folder / "p.npy", make(np.load(folder / "p.npy")))


def first_pixel(*values):
    def change(probabilities):
        probabilities[0, 0] = values
        return probabilities

    return probabilities_file(change)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "p.npy").unlink(), "p.npy: no such file"),
        (lambda d: (d / "photo.png").unlink(), "photo.png: no such file"),
        (lambda d: (d / "photo.png").write_bytes(b"x"), "photo.png: cannot be read as a picture"),
        (lambda d: (d / "p.npy").write_bytes(b""), "p.npy: cannot be read as a .npy file"),
        (lambda d: (d / "p.npy").write_bytes(b"hello"), "p.npy: cannot be read as a .npy file"),
        (lambda d: (d / "p.npy").write_bytes(pickle.dumps([1.0])), "p.npy: cannot be read as a .npy file"),
        (lambda d: (d / "p.npy").write_bytes((d / "p.npy").read_bytes()[:-9]), "p.npy: cannot be read as a .npy file"),
        (probabilities_file(lambda p: p.astype(object)), "p.npy: cannot be read as a .npy file"),
        (probabilities_file(lambda p: p[..., 0]), r"p.npy: holds float32 \[12, 14\]"),
        (probabilities_file(lambda p: p.astype(np.uint8)), r"p.npy: holds uint8 \[12, 14, 3\]"),
        (probabilities_file(lambda p: p[::2, ::2]), "p.npy: is 7x6 but the picture is 14x12"),
        (probabilities_file(lambda p: np.moveaxis(p, -1, 0)), "p.npy: is 12x3 but the picture is 14x12"),
        (probabilities_file(lambda p: np.full((12, 14, 256), 1 / 256)), "p.npy: has 256 classes"),
        (probabilities_file(np.log), "p.npy: values run from -.*after the softmax"),
        (probabilities_file(lambda p: p / 2), "p.npy: a pixel's values sum to between 0.5 and 0.5"),
        (first_pixel(np.nan, 0, 1), "p.npy: holds NaN"),
        (first_pixel(np.inf, 0, 1), "p.npy: holds NaN or infinite"),
        (first_pixel(1.5, -0.5, 0), "p.npy: values run from -0.5 to 1.5"),
        (lambda d: (d / "out").write_text(""), "out: "),
    ],
)
def test_bad_input_is_one_sentence(files, capsys, spoil, message):
    folder, arguments = files
    spoil(folder)
    assert crf.main([*arguments, "--save-marginals"]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (folder / "out").is_dir()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--iterations", "1000000000"], "iterations=1000000000: must be from 0 to 1000"),
        (["--iterations", "-1"], "iterations=-1: must be from 0 to 1000"),
        (["--gaussian-sxy", "0"], "gaussian_sxy=0.0: must be from 0.001 to 1000000"),
        (["--bilateral-srgb", "0.001"], "standard deviations are too small"),
    ],
)
def test_bad_flags_are_one_sentence(files, capsys, flags, message):
    assert crf.main([*files[1], *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_results_never_overwrite_their_input(files, capsys):
    folder, arguments = files
    assert crf.main([*arguments, "--out", str(folder)]) == 2
    assert "photo.png would be overwritten" in capsys.readouterr().err
    (folder / "p.npy").rename(folder / "photo.npy")
    (folder / "photo.png").rename(folder / "photo.bmp")
    inputs = ["--image", f"{folder}/photo.bmp", "--probabilities", f"{folder}/photo.npy", "--out", str(folder)]
    assert crf.main([*inputs, "--save-marginals"]) == 2
    assert "photo.npy would be overwritten" in capsys.readouterr().err
    assert crf.main(inputs) == 0


def test_what_predict_saves_is_what_this_reads(tmp_path, sample_set, capsys):
    """Probabilities in either precision; the network's own scores are named for what they are."""
    from tests.helpers.tiny import run

    assert run("train", "--data", sample_set, "--run-dir", tmp_path / "run", "--quiet", "--set", "num_steps=8") == 0
    photo = sample_set / "JPEGImages/sample_000064.jpg"
    predict = ["predict", photo, "--checkpoint", tmp_path / "run/model.ckpt-8", "--quiet", "--out"]
    assert run(*predict, tmp_path / "crf", "--crf") == 0
    with Image.open(tmp_path / "crf/sample_000064.png") as label:
        wanted = np.asarray(label)
    for precision in ("float32", "float16"):
        out = tmp_path / precision
        assert run(*predict, out, "--save-probabilities", precision, "--save-logits") == 0
        saved = np.load(out / "sample_000064_probabilities.npy")
        assert saved.dtype == precision
        assert saved.shape == (*wanted.shape, 21)
        with Image.open(out / "sample_000064.png") as label:
            agree = (saved.argmax(axis=-1) == np.asarray(label)).mean()
        assert agree == 1 if precision == "float32" else agree > 0.99
        arguments = ["--image", str(photo), "--out", str(out / "refined"), "--probabilities"]
        assert crf.main([*arguments, str(out / "sample_000064_probabilities.npy")]) == 0
        with Image.open(out / "refined/sample_000064.png") as label:
            assert (np.asarray(label) == wanted).mean() > 0.99
        capsys.readouterr()
        assert crf.main([*arguments, str(out / "sample_000064.npy")]) == 2
        assert "`predict --save-probabilities` writes what is taken here" in capsys.readouterr().err


def test_scores_are_taken_when_they_are_said_to_be(files, capsys):
    folder, arguments = files
    assert crf.main([*arguments, "--save-marginals"]) == 0
    expected = np.load(folder / "out/photo.npy")
    np.save(folder / "p.npy", np.log(np.load(folder / "p.npy") + 1e-9) + 3)
    assert crf.main([*arguments, "--save-marginals"]) == 2
    assert "or say --softmax" in capsys.readouterr().err
    assert crf.main([*arguments, "--save-marginals", "--softmax"]) == 0
    np.testing.assert_allclose(np.load(folder / "out/photo.npy"), expected, atol=1e-3)


def test_somebody_elses_label_map_is_not_overwritten(files, capsys):
    folder, arguments = files
    (folder / "out").mkdir()
    Image.new("L", (3, 3)).save(folder / "out/photo.png")
    before = (folder / "out/photo.png").read_bytes()
    assert crf.main(arguments) == 2
    assert "photo.png is there, and no result of this suite" in capsys.readouterr().err
    assert (folder / "out/photo.png").read_bytes() == before


def test_abbreviated_flags_are_refused(files):
    with pytest.raises(SystemExit, match="2"):
        crf.main([*files[1], "--iter", "3"])
