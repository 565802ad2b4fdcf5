"""`python -m common.results.compare`: the paired bootstrap against a slow loop, what it finds, draws and refuses."""

import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from common.data.lists import card_by_name, read_split
from common.data.masks import save_label_png
from common.errors import UserError
from common.inference.metrics import ConfusionMatrix
from common.inference.picture_scores import LABELS_FOLDER, SCORES_FILE, PictureScores
from common.results import compare as program
from common.results.bootstrap import Margins, differences, draws
from common.results.compare import Run, compare, open_run
from common.results.records import digest, dumps
from tests.conftest import ROOT
from tests.helpers.tiny import run as tiny

NAMES = ("sky", "road", "car", "bird")


def scored(pictures, classes=4, names=None):
    """The scores of (label, prediction) pairs."""
    scores = PictureScores(classes)
    for i, (label, prediction) in enumerate(pictures):
        scores.add(names[i] if names else f"p{i}", np.asarray(label), np.asarray(prediction))
    return scores


def a_run(scores, source="run", classes=NAMES):
    return Run(source, source, scores, tuple(classes[: scores.classes]))


def labels_and_predictions(rng, pictures, accuracy, classes=4, pixels=60):
    """Pictures with few classes each, the last class rare; predictions right with probability `accuracy`."""
    made = []
    for i in range(pictures):
        held = [*rng.choice(classes - 1, 2, replace=False), *([classes - 1] if i % 7 == 0 else [])]
        label = rng.choice(held, pixels)
        label[:3] = 255
        guess = rng.integers(classes, size=pixels)
        made.append((label, np.where(rng.random(pixels) < accuracy, np.where(label == 255, 0, label), guess)))
    return made


def test_intervals_are_those_of_a_slow_loop_over_the_same_draws():
    rng, count, seed = np.random.default_rng(3), 300, 11  # more draws than one chunk has
    a = labels_and_predictions(rng, 9, 0.6)
    b = [(label, np.where(rng.random(len(label)) < 0.3, np.minimum(label, 3), guess)) for label, guess in a]
    generator, slow = np.random.default_rng(seed), []
    for _ in range(count):
        drawn = generator.integers(9, size=9)
        both = []
        for pictures in (a, b):
            matrix = ConfusionMatrix(4)
            for i in drawn:
                matrix.update(*pictures[i])
            both.append([*matrix.iou, matrix.miou, matrix.pixel_accuracy])
        slow.append(np.subtract(both[1], both[0]))
    slow = np.array(slow)
    of_a, of_b = (Margins.of(scored(p), range(9)) for p in (a, b))
    found = differences(of_a, of_b, NAMES, count=count, seed=seed, confidence=0.9)
    assert np.isnan(slow[:, 3]).any()  # the rare class is in no label of some draws
    for difference, column in zip(found, slow.T, strict=True):
        low, high = np.nanquantile(column, [0.05, 0.95])
        assert (difference.low, difference.high) == pytest.approx((low, high), abs=1e-12)
        assert difference.occurs == pytest.approx(np.isfinite(column).mean())
    assert [d.name for d in found] == [*NAMES, "mIoU", "pixel accuracy"]


def test_the_figures_are_the_suites_metric():
    pictures = labels_and_predictions(np.random.default_rng(0), 12, 0.7)
    matrix = ConfusionMatrix(4)
    for pair in pictures:
        matrix.update(*pair)
    whole = Margins.of(scored(pictures), range(12)).weighted(np.ones(12)).figures()
    np.testing.assert_allclose(whole, [*matrix.iou, matrix.miou, matrix.pixel_accuracy], rtol=1e-12)


def test_draws_come_in_chunks_that_do_not_show():
    (first,), (again, more) = draws(5, 256, 1), draws(5, 300, 1)
    assert (first == again).all()
    assert more.shape == (44, 5)
    assert (more.sum(axis=1) == 5).all()


def test_a_picture_without_labels_counts_in_none():
    empty = (np.full(4, 255), np.zeros(4, int))
    scores = scored([empty, (np.zeros(4, int), np.zeros(4, int))])
    assert np.isnan(Margins.of(scores, [0]).figures()).all()
    found = compare(a_run(scores), a_run(scores), count=50)  # some draws hold the empty picture alone
    assert [c.picture for c in found.changes] == ["p1"]
    assert found.overall[0].occurs < 1
    assert [d.name for d in found.classes] == ["sky"]


def test_intervals_cover_the_true_difference_about_as_often_as_they_say():
    """Pictures of one law: 100 pixels of class 0 or 1, of which A gets 70 % and B 75 % right in the mean."""
    rng, covered, trials, pictures = np.random.default_rng(5), 0, 150, 60

    def margins(hits):
        labels = np.full((pictures, 1), 100.0)
        return Margins(hits[:, None].astype(float), labels, hits[:, None].astype(float))

    for trial in range(trials):
        common = rng.uniform(-0.2, 0.2, pictures)  # some pictures are harder than others, for both
        a, b = (rng.binomial(100, mean + common) for mean in (0.7, 0.75))
        found = differences(margins(a), margins(b), ["thing"], count=200, seed=trial, confidence=0.9)[0]
        covered += found.low <= 0.05 <= found.high
    assert 0.82 <= covered / trials <= 0.97


def test_pairing_finds_a_small_difference_among_very_different_pictures():
    """B is A with class 2 a little better in every picture: found, where unpaired spread would drown it."""
    rng, a, b = np.random.default_rng(2), [], []
    for accuracy in rng.uniform(0.1, 0.95, 40):
        ((label, guess),) = labels_and_predictions(rng, 1, accuracy, pixels=300)
        mended = guess.copy()
        mended[np.flatnonzero((label == 2) & (guess != 2))[:6]] = 2
        a.append((label, guess)), b.append((label, mended))
    found = compare(a_run(scored(a)), a_run(scored(b)), count=500)
    assert found.classes[0].name == "car"
    assert found.classes[0].difference > 0
    assert found.classes[0].excludes_zero
    assert found.classes[0].low > 0
    miou, accuracy = found.overall
    assert miou.excludes_zero
    assert accuracy.low > 0
    same = compare(a_run(scored(a)), a_run(scored(a)), count=50)
    assert not any(d.excludes_zero for d in [*same.classes, *same.overall])


def test_a_class_in_few_pictures_is_never_beyond_chance():
    """Its interval is a point, or all on one side, but five pictures fall on one side by chance one time in sixteen."""
    label, guess = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 0])
    for count, marked in ((1, False), (5, False), (6, True)):
        without = [(np.zeros(5, int), np.zeros(5, int))] * 4
        a, b = (a_run(scored([(label, p)] * count + without)) for p in (guess, label))
        road = next(d for d in compare(a, b, count=200).classes if d.name == "road")
        assert road.low > 0
        assert road.pictures == count
        assert road.excludes_zero == marked
    assert next(d for d in compare(a, b, count=200, confidence=0.99).classes if d.name == "road").excludes_zero is False


@pytest.fixture
def runs(tmp_path):
    """Two evaluation folders: B has one picture more, another order, and gets one picture much worse."""
    rng = np.random.default_rng(1)
    made = labels_and_predictions(rng, 6, 0.8)
    worse = [(label, np.where(label == 255, 0, (label + (i == 4)) % 4)) for i, (label, _) in enumerate(made)]
    other = [*worse, made[0]]
    order = [6, 3, 1, 5, 2, 4, 0]
    folders = {}
    for name, pictures, names in (
        ("a", made, [f"p{i}" for i in range(6)]),
        ("b", [other[i] for i in order], [f"p{i}" for i in order]),
    ):
        folder = folders[name] = tmp_path / name
        folder.mkdir()
        scores = scored(pictures, names=names)
        scores.save(folder / SCORES_FILE)
        matrix = ConfusionMatrix(4)
        matrix.counts = scores.matrix()
        (folder / "metrics.json").write_text(json.dumps(matrix.summary(NAMES)))
    return folders["a"], folders["b"]


def command(*arguments):
    try:
        return program.main([str(a) for a in arguments])
    except SystemExit as exit_:
        return exit_.code


def test_command_on_folders(runs, tmp_path, capsys):
    assert (
        command(*runs, "--json", tmp_path / "out.json", "--pictures", "2", "--draws", "40", "--confidence", "0.8") == 0
    )
    text = capsys.readouterr().out
    assert "6 pictures in both; left out: 0 of A alone, 1 of B alone" in text
    assert "80 % of 40 paired draws" in text
    assert "mean IoU over the classes in its label" in text
    assert "fewer than 30 pictures" in text
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["left_out"] == [0, 1]
    assert found["draws"] == 40
    assert len(found["changes"]) == 2
    assert found["changes"][0]["picture"] == "p4"
    assert found["changes"][0]["b"]["pixel_accuracy"] == 0
    sizes = [abs(c["difference"]) for c in found["classes"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {c["name"] for c in found["classes"]} == set(NAMES)
    assert all(c["difference"] == pytest.approx(c["b"] - c["a"], abs=2e-6) for c in found["classes"])
    lines = [line.split()[0] for line in text.splitlines() if line.startswith(NAMES)]
    assert lines == [c["name"] for c in found["classes"]]


def test_ranking_by_pixel_accuracy_and_no_pictures(runs, capsys):
    """p0 loses a class of few pixels, p1 gets more pixels wrong."""
    label = np.repeat([0, 1], [95, 5])
    few, many = np.zeros(100, int), np.where(np.arange(100) < 20, 1, label)
    a, b = a_run(scored([(label, label)] * 2)), a_run(scored([(label, few), (label, many)]))
    by_accuracy, by_miou = (compare(a, b, count=5, by=by).changes for by in ("pixel_accuracy", "miou"))
    assert [c.picture for c in by_accuracy] == ["p1", "p0"]
    assert by_accuracy[0].by("pixel_accuracy") == pytest.approx(-0.2)
    assert [c.picture for c in by_miou] == ["p0", "p1"]
    assert by_miou[0].by("miou") == pytest.approx(-0.525)
    assert command(*runs, "--pictures", "0", "--draws", "5") == 0
    assert "changed most" not in capsys.readouterr().out


def test_the_same_seed_gives_the_same_intervals(runs, capsys):
    texts = []
    for seed in (4, 4, 5):
        assert command(*runs, "--seed", seed, "--draws", "30") == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def write_record(folder, results_dir, confusion_matrix, **changes):
    """A record as `evaluate` writes it: what comparing reads, and a committed one's other fields."""
    record = json.loads(sorted((ROOT / "results/runs").glob("*.json"))[0].read_text()) | {
        "schema": 1, "id": "tiny-small-set_val-0123456789", "title": "Tiny", "variant": "small",
        "protocol": {"eval_size": "native", "scales": [1.0], "flip": False}, "confusion_matrix": confusion_matrix,
        "per_class_iou": dict.fromkeys(NAMES, 0.5), "evaluation": str(folder), "command": "python -m x", **changes,
    }  # fmt: skip
    path = results_dir / "runs" / f"{record['id']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps({**record, "digest": digest(record)}))
    return path


@pytest.mark.parametrize("how", ["file", "id", "end"])
def test_records_by_file_id_or_end(runs, results_dir, how):
    matrix = PictureScores.load(runs[0] / SCORES_FILE).matrix().tolist()
    path = write_record(runs[0], results_dir, matrix)
    run = open_run({"file": str(path), "id": path.stem, "end": path.stem[-10:]}[how])
    assert run.classes == NAMES
    assert run.title == "Tiny small, native, scale 1 [0123456789]"
    assert run.scores.names == [f"p{i}" for i in range(6)]


def test_records_without_their_folder_say_how_to_get_it(runs, results_dir):
    matrix = PictureScores.load(runs[0] / SCORES_FILE).matrix().tolist()
    path = write_record(runs[0], results_dir, matrix)
    shutil.copy(runs[1] / SCORES_FILE, runs[0] / SCORES_FILE)
    with pytest.raises(UserError, match="holds a later evaluation.*`python -m x` writes it again"):
        open_run(str(path))
    shutil.rmtree(runs[0])
    with pytest.raises(UserError, match="a is not here.*`python -m x` writes it again"):
        open_run(str(path))
    path = write_record(runs[0], results_dir, matrix, evaluation=None)
    with pytest.raises(UserError, match="before evaluations kept.*`python -m x` writes it again"):
        open_run(str(path))
    path.write_text(path.read_text().replace("Tiny", "Tidy"))
    with pytest.raises(UserError, match="was changed after its run wrote it"):
        open_run(str(path))


def test_npz_alone_has_numbered_classes(runs, tmp_path):
    alone = tmp_path / "alone" / SCORES_FILE
    alone.parent.mkdir()
    shutil.copy(runs[0] / SCORES_FILE, alone)
    known, unknown = open_run(str(runs[0] / SCORES_FILE)), open_run(str(alone))
    assert known.classes == open_run(str(runs[0] / "metrics.json")).classes == NAMES
    for first, second, expected in ((unknown, known, "sky"), (known, unknown, "sky"), (unknown, unknown, "class 0")):
        assert expected in {d.name for d in compare(first, second, count=2).classes}


def test_draws_have_a_bound(runs, capsys):
    assert command(*runs, "--draws", 1_000_000_000_000) == 2
    assert "--draws: 1000000000000 is too large; take 100,000 at most" in capsys.readouterr().err


def test_bad_input(runs, tmp_path, results_dir, capsys):
    a, b = runs

    def refused(*arguments):
        assert command(*arguments) == 2
        out, error = capsys.readouterr()
        assert out == ""
        assert len(error.strip().splitlines()) == 1
        return error

    assert "no record in" in refused(a, "ffffffffff")
    assert "no such file" in refused(a, tmp_path / "nothing.json")
    assert "no such file" in refused(a, tmp_path / "nothing.npz")
    (tmp_path / "empty").mkdir()
    assert "holds no pictures.npz" in refused(a, tmp_path / "empty")
    (tmp_path / "broken.npz").write_bytes(b"PK no zip")
    assert "cannot be read" in refused(a, tmp_path / "broken.npz")
    scored([([0], [0])], names=["elsewhere"]).save(tmp_path / "other.npz")
    assert "no picture in common" in refused(a, tmp_path / "other.npz")
    scored([([0], [0])], classes=5).save(tmp_path / "five.npz")
    assert "5 classes" in refused(a, tmp_path / "five.npz")
    scored([([0], [0]), ([0], [0])], names=["p0", "p0"]).save(tmp_path / "twice.npz")
    assert "more than one picture called p0" in refused(a, tmp_path / "twice.npz")
    assert "needs --data" in refused(a, b, "--out", tmp_path / "out")
    assert "above 0 and below 1" in refused(a, b, "--confidence", "95")
    assert "--draws" in refused(a, b, "--draws", "0")
    assert "the following arguments are required" in refused()
    assert not (tmp_path / "out").exists()


def test_nobody_elses_file_is_overwritten(runs, tmp_path, capsys):
    notes = tmp_path / "notes.json"
    notes.write_text('{"mine": 1}')
    assert command(*runs, "--draws", "5", "--json", notes) == 2
    assert "notes.json is there, and not written by this command" in capsys.readouterr().err
    assert notes.read_text() == '{"mine": 1}'
    picture = tmp_path / program.SHEET
    Image.new("RGB", (2, 2)).save(picture)
    before = picture.read_bytes()
    assert command(*runs, "--draws", "5", "--data", "sample", "--out", tmp_path) == 2
    assert "is there, and not drawn by this suite" in capsys.readouterr().err
    assert picture.read_bytes() == before
    for _ in range(2):  # its own are
        assert command(*runs, "--draws", "5", "--json", tmp_path / "found.json") == 0


def test_other_labels_are_said(runs, tmp_path, capsys):
    label = np.array([0, 0, 1, 1])
    scored([(label, label)], names=["p0"]).save(tmp_path / "x.npz")
    scored([(np.array([0, 1, 1, 1]), label)], names=["p0"]).save(tmp_path / "y.npz")
    assert command(tmp_path / "x.npz", tmp_path / "y.npz", "--draws", "5") == 0
    assert "the runs did not count the same labels in 1 pictures" in capsys.readouterr().out


def test_sheet_of_what_evaluate_wrote(sample_set, tmp_path, monkeypatch, capsys):
    """A real evaluation and a spoilt copy of it: the spoilt picture comes first, and is drawn."""
    monkeypatch.chdir(tmp_path)
    assert tiny("train", "--data", sample_set, "--run-dir", "run", "--quiet") == 0
    assert tiny("evaluate", "--data", sample_set, "--checkpoint", "run/model.ckpt-8", "--out", "a", "--limit", "4",
                "--quiet") == 0  # fmt: skip
    record = capsys.readouterr().out.strip().splitlines()[-1]
    card = card_by_name("voc2012")
    split = read_split(card, sample_set, "val")
    scores = PictureScores(21)
    for i in range(4):
        _, mask = split.read(i)
        scores.add(split.pairs[i][0].stem, mask, np.full_like(mask, 20) if i == 2 else np.where(mask == 255, 0, mask))
    spoilt = tmp_path / "b"
    spoilt.mkdir()
    scores.save(spoilt / SCORES_FILE)
    more = ["--data", sample_set, "--out", "changes", "--pictures", "2", "--draws", "10"]
    assert command(record, spoilt, *more) == 2
    assert "kept no label maps" in capsys.readouterr().err
    assert not (tmp_path / "changes").exists()
    for folder in (tmp_path / "a", spoilt):
        (folder / LABELS_FOLDER).mkdir()
        for i in range(4):
            save_label_png(folder / LABELS_FOLDER / f"{split.pairs[i][0].stem}.png", split.read(i)[1], card.palette)
    assert command(record, spoilt, *more) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "changes/changed_pictures.png"
    assert "Tiny small" in text
    with Image.open("changes/changed_pictures.png") as page:
        assert page.width > 4 * 180
        assert page.height > 2 * 180
    other = sorted((spoilt / LABELS_FOLDER).glob("*.png"))
    for path in other:
        Image.new("L", (3, 3)).save(path)
    assert command(record, spoilt, *more) == 2
    assert "not as large as its picture" in capsys.readouterr().err


def test_figures_that_do_not_exist_are_none_in_json(tmp_path):
    label = np.array([0, 0, 1, 1])
    scored([(label, label), (np.zeros(4, int), np.zeros(4, int))]).save(tmp_path / "x.npz")
    scored([(np.zeros(4, int), label), (np.zeros(4, int), np.zeros(4, int))]).save(tmp_path / "y.npz")
    assert command(tmp_path / "x.npz", tmp_path / "y.npz", "--draws", "5", "--json", tmp_path / "o.json") == 0
    found = json.loads((tmp_path / "o.json").read_text())["classes"]
    assert found[-1]["name"] == "class 1"
    assert found[-1]["b"] is None
    assert found[-1]["low"] is None
    assert not any(isinstance(v, float) and math.isnan(v) for c in found for v in c.values())


def test_a_record_beside_its_evaluation_is_found_by_its_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = {"runs/x/evaluation": "tiny-small-x-0123456789", "out/y": "tiny-small-y-abcdef0123", "out/broken": None}
    for folder in ids:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "record.json").write_text("{}")

    def read_record(path):
        if ids[path.parent.as_posix()] is None:
            raise UserError(f"{path}: is broken")
        return {"id": ids[path.parent.as_posix()]}

    monkeypatch.setattr(program.records, "read_record", read_record)
    monkeypatch.setattr(program, "_from_record", lambda path: path.as_posix())
    assert program.open_run("0123456789") == "runs/x/evaluation/record.json"
    assert program.open_run("tiny-small-y-abcdef0123") == "out/y/record.json"
    with pytest.raises(UserError, match="is no record in"):
        program.open_run("9999999999")
