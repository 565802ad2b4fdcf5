"""Training, resuming, stopping and every way in which it can be refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from common.data.lists import read_split
from common.data.sets.voc import VOC2012
from common.errors import UserError
from common.files import SAVING, WRITING
from common.tf1 import tf
from common.training import run_folder, trainer
from common.training import train as training
from common.training.curve import plot_training_curve
from common.training.plateau import Plateau
from common.training.step import batch_confusion, learning_rate, multiplier
from common.weights import checkpoint_files
from common.weights.weights import Weights
from reproductions.v2.recipe import DEEPLAB
from tests.conftest import ROOT, files_no_larger_than
from tests.helpers.leftovers import killed_name
from tests.helpers.tiny import SMALL, TINY, VARIANTS, TinyRecipe, run


def losses(run_dir):
    return {e["step"]: e["loss"] for e in run_folder.read_log(run_dir)}


def train(sample_set, run_dir, *arguments, **settings):
    pairs = [f"{k}={v}" for k, v in settings.items()]
    extra = ["--set", *pairs] if pairs else []
    return run("train", "--data", sample_set, "--run-dir", run_dir, "--quiet", *arguments, *extra)


@pytest.fixture(scope="module")
def trained(sample_set, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    assert train(sample_set, run_dir) == 0
    return run_dir


def test_a_run_folder_holds_everything(trained):
    names = {p.name for p in trained.iterdir()}
    assert {"model.ckpt-4.index", "model.ckpt-8.index", "recipe.json", "log.jsonl", "train.json"} <= names
    assert "training_curve.png" in names
    assert not [n for n in names if n.startswith((".saving", ".writing"))]
    assert list(losses(trained)) == list(range(1, 9))
    entry = run_folder.read_log(trained)[0]
    assert entry.keys() == {"step", "loss", "pixel_loss", "learning_rate", "miou", "pixel_accuracy", "seconds"}
    assert entry["learning_rate"] == pytest.approx(SMALL.learning_rate)
    assert TINY.stored_recipe(Weights(trained / "model.ckpt-8")) == SMALL
    with Image.open(trained / "snapshots/000004.png") as snapshot:
        assert snapshot.size == (3 * 65, 2 * 65)  # picture, label and prediction of two examples
    (events,) = trained.glob("events.*")
    tags = {v.tag for e in tf.train.summary_iterator(str(events)) for v in e.summary.value}
    assert {"loss", "pixel_loss", "learning_rate", "miou", "pixel_accuracy", "picture_label_prediction/0"} <= tags


def scalars(run_dir):
    """Tag -> step -> value of all events."""
    found = {}
    for path in sorted(run_dir.glob("events.*")):
        for event in tf.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def some_pictures(folder, count):
    path = folder / "few.txt"
    path.write_text("".join(f"sample_{i:06d}\n" for i in range(count)))
    return path


def test_scores_of_the_batches_and_means_of_the_epochs(sample_set, tmp_path):
    """By hand: 6 pictures in batches of 4 end their epochs after steps 2, 3, 5 and 6 of a run that goes on."""
    few = some_pictures(tmp_path, 6)
    for steps in (4, 6):
        run_dir = tmp_path / str(steps)
        assert train(sample_set, run_dir, "--split", few, num_steps=6, save_interval=2) == 0
        if steps == 4:  # as a kill after the last checkpoint but one leaves it
            checkpoint_files.delete(run_dir / "model.ckpt-6")
            assert train(sample_set, run_dir, "--split", few, "--resume", num_steps=6, save_interval=2) == 0
        log = run_folder.read_log(run_dir)
        assert all(0 <= e["miou"] < 1 and 0 <= e["pixel_accuracy"] < 1 for e in log)
        assert log[-1]["miou"] > 0
        for name in ("loss", "pixel_loss", "miou", "pixel_accuracy"):
            values = [e[name] for e in log]
            wanted = {1: np.mean(values[:2]), 2: values[2], 3: np.mean(values[3:5]), 4: values[5]}
            assert scalars(run_dir)[f"epoch/{name}"] == pytest.approx(wanted, rel=1e-5)
    both = [[(e["loss"], e["miou"], e["pixel_accuracy"]) for e in run_folder.read_log(tmp_path / n)] for n in "46"]
    assert both[0] == both[1]


def test_the_batchs_confusion_by_hand():
    """Pixels without a class are left out; labels are brought to the scores' size."""
    labels = np.array([[0, 9, 1, 9], [9, 9, 9, 9], [2, 9, 255, 9], [9, 9, 9, 9]], np.uint8)[None, ..., None]
    logits = np.zeros((1, 2, 2, 3), np.float32)
    for (y, x), best in {(0, 0): 0, (0, 1): 2, (1, 0): 2, (1, 1): 1}.items():
        logits[0, y, x, best] = 1
    with tf.Graph().as_default(), tf.Session() as sess:
        found = sess.run(batch_confusion(tf.constant(logits), tf.constant(labels), 3))
    assert found.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_a_batch_without_any_class_has_no_score(sample_set, tmp_path, monkeypatch):
    monkeypatch.setattr(TinyRecipe, "class_ids", lambda self, mask: np.full_like(mask, 255))
    # Other pictures of the split have classes, or the training would be refused.
    monkeypatch.setattr(training, "refuse_nothing_to_learn", lambda *_: None)
    assert train(sample_set, tmp_path / "run", num_steps=2) == 0
    log = run_folder.read_log(tmp_path / "run")
    assert [(e["miou"], e["pixel_accuracy"]) for e in log] == [(None, None)] * 2
    assert "miou" not in scalars(tmp_path / "run")
    assert (tmp_path / "run/training_curve.png").is_file()


def test_logs_of_older_runs_are_drawn(trained, tmp_path):
    """Without scores: the loss alone; the validation of such a run has no pixel accuracy."""
    older = [{k: e[k] for k in ("step", "loss", "pixel_loss")} for e in run_folder.read_log(trained)]
    widths = []
    for validation in ([], [{"step": 4, "miou": 0.5, "loss": 1.0, "images": 3}]):
        for name, entries in (("log.jsonl", older), ("validation.jsonl", validation)):
            (tmp_path / name).write_text("".join(json.dumps(e) + "\n" for e in entries))
        widths.append(Image.open(plot_training_curve(tmp_path, SMALL, 8)).width)
    newer = Image.open(trained / "training_curve.png").width
    assert widths[0] < widths[1] < newer


def test_the_loss_falls_and_calibration_fills_the_statistics(trained, sample_set, tmp_path):
    values = list(losses(trained).values())
    assert min(values[-2:]) < values[0]
    weights = Weights(trained / "model.ckpt-8")
    assert np.abs(weights.value("conv1/BatchNorm/moving_mean")).max() > 1e-3
    assert train(sample_set, tmp_path / "r", calibration_batches=0, num_steps=1) == 0
    assert not Weights(tmp_path / "r/model.ckpt-1").value("conv1/BatchNorm/moving_mean").any()


def test_the_same_run_twice_is_the_same(trained, sample_set, tmp_path):
    assert train(sample_set, tmp_path / "again") == 0
    assert losses(tmp_path / "again") == losses(trained)


@pytest.mark.parametrize("settings", [*({"variant": name} for name in VARIANTS), {"precision": "bf16"}])
def test_resume_after_a_kill_gives_the_losses_of_a_straight_run(sample_set, tmp_path, settings):
    """A process killed after step 6, its newest checkpoint at 4: steps 5 and 6 are done again, alike."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert train(sample_set, straight, **settings) == 0
    assert train(sample_set, killed, **settings) == 0
    checkpoint_files.delete(killed / "model.ckpt-8")
    log = (killed / "log.jsonl").read_text().splitlines(keepends=True)
    (killed / "log.jsonl").write_text("".join(log[:6]) + '{"step": 7, "lo')
    assert train(sample_set, killed, "--resume", **settings) == 0
    assert losses(killed) == losses(straight)
    assert checkpoint_files.newest_checkpoint(killed).name == "model.ckpt-8"


def test_bf16_trains_otherwise_but_nearly_as_fp32(trained, sample_set, tmp_path):
    assert train(sample_set, tmp_path / "r", precision="bf16") == 0
    ours, fp32 = losses(tmp_path / "r"), losses(trained)
    assert ours != fp32
    assert max(abs(ours[step] - fp32[step]) / fp32[step] for step in fp32) < 0.02


def test_resume_needs_no_settings(sample_set, tmp_path):
    """The stored recipe is the run's, whether its --set is said again, in part, or not at all."""
    settings = {"variant": "accumulated", "width": 8, "learning_rate": 0.01}
    for said in ({}, {"width": 8}, settings):
        run_dir = tmp_path / str(len(said))
        assert train(sample_set, run_dir, **settings) == 0
        checkpoint_files.delete(run_dir / "model.ckpt-8")
        assert train(sample_set, run_dir, "--resume", **said) == 0
        assert TINY.stored_recipe(Weights(run_dir / "model.ckpt-8")).width == 8


def test_resume_of_a_finished_run_does_nothing(trained, sample_set):
    before = (trained / "log.jsonl").read_text()
    assert train(sample_set, trained, "--resume") == 0
    assert (trained / "log.jsonl").read_text() == before


@pytest.mark.full  # `make test` resumes smaller networks
@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGINT])
def test_v2_stopped_at_17_and_resumed_equals_a_straight_run(sample_set, tmp_path, kill):
    """The bar: 40 steps of the real network on the sample set, stopped by a signal, bit for bit."""
    settings = ["encoder=res50", "crop_size=65", "batch_size=2", "num_steps=40", "calibration_batches=2"]
    command = [
        sys.executable, "-m", "reproductions.v2", "train", "--data", str(sample_set), "--quiet",
        "--set", "variant=sample", *settings, "save_interval=40",
    ]  # fmt: skip
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    subprocess.run([*command, "--run-dir", str(straight)], cwd=ROOT, check=True, capture_output=True)
    process = subprocess.Popen([*command, "--run-dir", str(stopped)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(run_folder.read_log(stopped)) < 16:
        time.sleep(0.01)
    process.send_signal(kill)
    _, errors = process.communicate()
    assert process.returncode == 128 + kill
    assert re.search(r"stopped by signal \d+ after step \d+ of 40; .*--resume", errors)
    at = checkpoint_files.step_of(checkpoint_files.newest_checkpoint(stopped))
    assert 16 <= at < 40
    assert list(losses(stopped)) == list(range(1, at + 1))
    subprocess.run([*command, "--run-dir", str(stopped), "--resume"], cwd=ROOT, check=True, capture_output=True)
    assert losses(stopped) == losses(straight)


def error_of(capsys, status):
    assert status == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def test_a_used_folder_needs_resume(trained, sample_set, capsys):
    assert "go on with --resume" in error_of(capsys, train(sample_set, trained))


def test_resume_with_another_recipe_is_refused(trained, sample_set, capsys):
    message = error_of(capsys, train(sample_set, trained, "--resume", num_steps=9, width=8))
    assert "num_steps 8 -> 9" in message
    assert "width 16 -> 8" in message


def test_a_run_from_before_a_field_was_there_goes_on(trained, sample_set, monkeypatch, capsys):
    """It did what the field's default does."""
    recipe = Weights.recipe
    monkeypatch.setattr(Weights, "recipe", lambda w: {k: v for k, v in recipe(w).items() if k != "gradient_clip"})
    assert train(sample_set, trained, "--resume") == 0
    assert "gradient_clip" in error_of(capsys, train(sample_set, trained, "--resume", gradient_clip=3.0))


def test_resume_with_other_data_or_another_start_is_refused(trained, sample_set, tmp_path, capsys):
    assert "data sample set train_aug -> sample set val" in error_of(
        capsys, train(sample_set, trained, "--resume", "--split", "val")
    )
    np.savez(tmp_path / "w.npz", **{n: Weights(trained / "model.ckpt-8").value(n) for n in ("conv1/weights",)})
    assert "init_digest None -> " in error_of(
        capsys, train(sample_set, trained, "--resume", "--init", tmp_path / "w.npz")
    )


def test_other_classes_than_the_data_sets_are_refused(sample_set, tmp_path, capsys):
    assert "num_classes=5: the network's classes are not the 21" in error_of(
        capsys, train(sample_set, tmp_path / "r", num_classes=5)
    )


def test_adam_with_multipliers_writes_checkpoints_that_are_read(sample_set, tmp_path):
    settings = {"optimizer": "adam", "num_steps": 2, "lr_multipliers": '[["scores", 10]]'}
    assert train(sample_set, tmp_path / "r", **settings) == 0
    arguments = ["--split", "val", "--checkpoint", tmp_path / "r/model.ckpt-2", "--out", tmp_path / "o", "--quiet"]
    assert run("evaluate", "--data", sample_set, "--limit", "1", *arguments) == 0
    assert train(sample_set, tmp_path / "r", "--resume", **settings) == 0


def test_leavings_of_a_killed_process_are_swept(trained, sample_set):
    saving = trained / killed_name(SAVING, "x")
    saving.mkdir()
    (saving / "model.ckpt-9.data").touch()
    (trained / killed_name(WRITING, "y.json")).touch()
    assert train(sample_set, trained, "--resume") == 0
    assert not list(trained.glob(".saving-*"))
    assert not list(trained.glob(".writing-*"))


def test_damaged_logs_are_cut_where_the_damage_begins(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1, "loss": 2}\n\xff\xfe\n{"step": 3}\n')
    assert run_folder.read_log(tmp_path) == [{"step": 1, "loss": 2}]
    (tmp_path / "log.jsonl").write_text("{}\n")
    assert run_folder.read_log(tmp_path) == []


def test_two_processes_in_one_folder(trained, sample_set, capsys):
    with run_folder.locked(trained):
        message = error_of(capsys, train(sample_set, trained, "--resume"))
    assert f"process {os.getpid()} is training in it" in message


def test_missing_folder_empty_split_and_unknown_key(sample_set, tmp_path, capsys):
    assert "no such folder" in error_of(capsys, train(tmp_path / "none", tmp_path / "r"))
    (tmp_path / "empty.txt").write_text("")
    assert "is empty" in error_of(capsys, train(sample_set, tmp_path / "r", "--split", tmp_path / "empty.txt"))
    assert "did you mean width" in error_of(capsys, train(sample_set, tmp_path / "r", widht=3))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("fault", ["truncated", "size", "value"])
def test_a_bad_pair_stops_training_by_name(sample_set, tmp_path, capsys, fault):
    image, mask = read_split(VOC2012, sample_set, "train").pairs[0]
    bad_image, bad_mask = tmp_path / "bad.jpg", tmp_path / "bad.png"
    bad_image.write_bytes(image.read_bytes()[: 900 if fault == "truncated" else None])
    label = np.asarray(Image.open(mask))
    label = label[1:] if fault == "size" else np.full_like(label, 99) if fault == "value" else label
    Image.fromarray(label).save(bad_mask)
    (tmp_path / "list.txt").write_text(f"{bad_image.name} {bad_mask.name}\n")
    message = error_of(capsys, train(tmp_path, tmp_path / "run", "--split", tmp_path / "list.txt"))
    assert {"truncated": "bad.jpg: cannot be read", "size": "they must match", "value": "value 99"}[fault] in message


def test_init_is_strict_but_for_what_the_recipe_names(trained, sample_set, tmp_path, capsys):
    source = Weights(trained / "model.ckpt-8")
    values = {n: source.value(n) for n in source.names()}
    fitting = {n: v for n, v in values.items() if not n.startswith("scores/")} | {"scores/other": np.zeros(3)}
    np.savez(tmp_path / "fitting.npz", **fitting)
    assert train(sample_set, tmp_path / "r", "--init", tmp_path / "fitting.npz", learning_rate=1e-9) == 0
    started = Weights(tmp_path / "r/model.ckpt-8")
    np.testing.assert_allclose(started.value("conv2/weights"), values["conv2/weights"], atol=1e-6)
    assert not np.allclose(started.value("scores/weights"), values["scores/weights"])
    assert json.loads((tmp_path / "r/train.json").read_text())["init"].endswith("fitting.npz")
    assert "?" in run_folder.read_pictures(tmp_path / "r")  # nobody knows what fitting.npz has seen

    broken = {n: v for n, v in values.items() if n != "conv1/weights"} | {"stray": np.zeros(1)}
    np.savez(tmp_path / "broken.npz", **broken)
    message = error_of(capsys, train(sample_set, tmp_path / "s", "--init", tmp_path / "broken.npz"))
    assert "1 missing in the file: conv1/weights" in message
    assert "1 extra in the file: stray" in message


def test_full_disk_during_a_checkpoint(trained, sample_set, tmp_path, capsys):
    """One sentence; the earlier checkpoint is whole, nothing half-written stays, and the run can go on."""
    run_dir = tmp_path / "r"
    assert train(sample_set, run_dir) == 0
    checkpoint_files.delete(run_dir / "model.ckpt-8")
    with files_no_larger_than(30_000):  # the log and the index fit, the weights don't
        message = error_of(capsys, train(sample_set, run_dir, "--resume"))
    assert "model.ckpt-8: the checkpoint could not be written (File too large)" in message
    assert "--resume from" in message
    assert [p.name for p in checkpoint_files.checkpoints(run_dir)] == ["model.ckpt-4"]
    assert not list(run_dir.glob(".saving*"))
    assert not list(run_dir.glob("model.ckpt-8*"))
    assert train(sample_set, run_dir, "--resume") == 0
    assert losses(run_dir) == losses(trained)


def test_a_loss_that_is_not_finite_stops_the_run(sample_set, tmp_path, capsys):
    message = error_of(capsys, train(sample_set, tmp_path / "r", learning_rate=1e30))
    assert "not finite" in message
    assert "a learning_rate below 1e+30" in message
    assert checkpoint_files.newest_checkpoint(tmp_path / "r") is None


def test_poly_and_multipliers():
    recipe = DEEPLAB.derive(num_steps=4, learning_rate=1.0)
    with tf.Graph().as_default(), tf.Session() as session:
        rates = session.run([learning_rate(recipe, tf.constant(s, tf.int64)) for s in (0, 1, 4, 9)])
    np.testing.assert_allclose(rates, [1, 0.75**0.9, 0, 0], rtol=1e-6)
    names = ["conv1/weights", "fc1_voc12_c0/weights", "fc1_voc12_c0/biases", "decoder/aspp/conv1/biases"]
    assert [multiplier(recipe, n) for n in names] == [1, 10, 20, 20]


def test_step_schedule():
    recipe = DEEPLAB.derive(schedule="step", learning_rate=1.0, step_size=2)
    with tf.Graph().as_default(), tf.Session() as session:
        rates = session.run([learning_rate(recipe, tf.constant(s, tf.int64)) for s in (0, 1, 2, 5)])
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.01], rtol=1e-6)


@pytest.mark.parametrize("changes", [
    {},
    {"slow_start_step": 5},
    {"slow_start_step": 5, "slow_start_learning_rate": 0.3, "end_learning_rate": 0.1},
    {"decay_steps": 12, "end_learning_rate": 0.2},
    {"decay_steps": 40, "slow_start_step": 3},
    {"schedule": "step", "step_size": 4, "slow_start_step": 3},
])  # fmt: skip
def test_schedules_of_the_official_training(changes):
    """Against TensorFlow's decays, put together as research/deeplab's get_model_learning_rate puts them."""
    recipe = SMALL.derive(learning_rate=1.0, num_steps=20, power=0.9, slow_start_learning_rate=1e-4).derive(**changes)
    slow = recipe.slow_start_step
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, [])
        after = tf.maximum(step - slow, 0)
        if recipe.schedule == "step":
            decayed = tf.train.exponential_decay(1.0, after, recipe.step_size, recipe.step_factor, staircase=True)
        else:
            steps = recipe.decay_steps or recipe.num_steps - slow
            decayed = tf.train.polynomial_decay(1.0, after, steps, recipe.end_learning_rate, recipe.power)
        wanted = tf.where(step < slow, tf.constant(recipe.slow_start_learning_rate), decayed)
        rates = [session.run((learning_rate(recipe, step), wanted), {step: s}) for s in range(recipe.num_steps + 2)]
    np.testing.assert_allclose(*zip(*rates, strict=True), rtol=1e-6)


def test_a_slow_start_needs_a_schedule_that_follows():
    with pytest.raises(UserError, match="slow_start_step=3: a plateau schedule follows the losses"):
        SMALL.derive(schedule="plateau", slow_start_step=3)
    with pytest.raises(UserError, match="slow_start_step=8: must be below num_steps=8"):
        SMALL.derive(slow_start_step=8)
    with pytest.raises(UserError, match="decay_steps=-1: must be at least 0"):
        SMALL.derive(decay_steps=-1)


def test_plateau_is_no_function_of_the_step():
    with tf.Graph().as_default(), pytest.raises(ValueError, match="schedule plateau"):
        learning_rate(SMALL.derive(schedule="plateau"), tf.constant(0, tf.int64))


def test_a_stop_before_the_first_step_still_saves(sample_set, tmp_path, monkeypatch):
    split = read_split(VOC2012, sample_set, "train")
    initialise = trainer.Trainer.initialise

    def stopped(*arguments):
        initialise(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(trainer.Trainer, "initialise", stopped)
    ended = training.train(TINY.load_network(), SMALL, split, tmp_path, quiet=True)
    assert (ended.step, ended.stopped_by, ended.checkpoint.name) == (0, signal.SIGTERM, "model.ckpt-0")


def test_a_refused_start_leaves_nothing(sample_set, tmp_path, capsys):
    np.savez(tmp_path / "stray.npz", stray=np.zeros(1))
    message = error_of(capsys, train(sample_set, tmp_path / "new/run", "--init", tmp_path / "stray.npz"))
    assert "1 extra in the file: stray" in message
    assert [path.name for path in tmp_path.iterdir()] == ["stray.npz"]


def test_user_errors_do_not_keep_the_lock(sample_set, tmp_path):
    with pytest.raises(UserError), run_folder.locked(tmp_path):
        raise UserError("x")
    with run_folder.locked(tmp_path):
        pass


def test_plateau_drops_when_the_loss_stops_to_fall():
    """Windows of two updates: means 4, 2 (falls), 2 (stuck), 1 (falls), 1 (stuck), 1 (stuck, but no rate is left)."""
    recipe = SMALL.derive(
        schedule="plateau",
        learning_rate=0.1,
        plateau_factors=(1.0, 0.1, 0.01),
        plateau_window=2,
        grad_update_every=2,
        batch_size=2,
    )
    losses, rates = [4, 4, 2, 2, 1, 3, 1, 1, 1, 1, 1, 1, 1], []
    with tf.Graph().as_default(), tf.Session() as session:
        plateau = Plateau(recipe)
        loss, step = tf.placeholder(tf.float32, []), tf.placeholder(tf.int64, [])
        rate, observe, judge = plateau.learning_rate(), plateau.observe(loss), plateau.judge(step)
        session.run(tf.global_variables_initializer())
        for k, value in enumerate(losses):
            rates.append(round(float(session.run(rate)), 6))
            for _ in range(2):  # two passes an update, averaged
                session.run(observe, {loss: value})
            session.run(judge, {step: k})
    assert rates == [0.1] * 6 + [0.01] * 4 + [0.001] * 3


def test_plateau_with_patience_is_keras_reduce_on_plateau():
    """Against Keras' rule in a few lines: better than the best by more than min_delta, or wait; then drop."""
    recipe = SMALL.derive(
        schedule="plateau", learning_rate=0.1, plateau_factors=(), step_factor=0.5, plateau_window=1,
        plateau_patience=3, plateau_tolerance=0.0, plateau_min_delta=0.01, min_learning_rate=0.02,
    )  # fmt: skip
    losses = np.round(1 + 0.03 * np.random.RandomState(3).randn(40) - 0.004 * np.arange(40), 4)
    rate, best, waited, wanted = 0.1, np.inf, 0, []
    for value in losses:
        wanted.append(rate)
        best, waited = (value, 0) if value < best - 0.01 else (best, waited + 1)
        if waited >= 3:
            rate, waited = max(rate * 0.5, 0.02), 0
    found = []
    with tf.Graph().as_default(), tf.Session() as session:
        plateau = Plateau(recipe)
        loss, step = tf.placeholder(tf.float32, []), tf.placeholder(tf.int64, [])
        now, observe, judge = plateau.learning_rate(), plateau.observe(loss), plateau.judge(step)
        session.run(tf.global_variables_initializer())
        for k, value in enumerate(losses):
            found.append(session.run(now))
            session.run(observe, {loss: value})
            session.run(judge, {step: k})
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert len(set(wanted)) == 4


@pytest.mark.parametrize("variant", ["small", "accumulated"])
def test_plateau_goes_on_where_it_stopped(variant, sample_set, tmp_path):
    settings = {
        "variant": variant, "schedule": "plateau", "plateau_factors": "1,0.2,0.04", "plateau_window": 2,
        "plateau_tolerance": 0.5, "save_interval": 3,
    }  # fmt: skip
    assert train(sample_set, tmp_path / "whole", **settings) == 0
    assert train(sample_set, tmp_path / "parts", **settings) == 0
    for file in tmp_path.glob("parts/model.ckpt-[68]*"):  # as if it had been killed after step 3
        file.unlink()
    assert train(sample_set, tmp_path / "parts", "--resume", **settings) == 0
    whole, parts = (
        [(e["loss"], e["learning_rate"]) for e in run_folder.read_log(tmp_path / n)] for n in ("whole", "parts")
    )
    assert whole == parts
    assert len({rate for _, rate in whole}) > 1


def test_validation_while_training(sample_set, tmp_path):
    """Every interval, on `--limit` pictures; the training itself is the same; a resumed run fills what is missing."""
    run_dir = tmp_path / "r"
    assert train(sample_set, run_dir, "--limit", "3", validation_interval=3) == 0
    measured = run_folder.read_log(run_dir, run_folder.VALIDATION)
    assert [(e["step"], e["images"]) for e in measured] == [(3, 3), (6, 3)]
    assert all(0 <= e["miou"] <= 1 for e in measured)
    assert train(sample_set, tmp_path / "without") == 0
    assert losses(run_dir) == losses(tmp_path / "without")
    (events,) = run_dir.glob("events.*")
    assert "val_miou" in {v.tag for e in tf.train.summary_iterator(str(events)) for v in e.summary.value}
    for file in run_dir.glob("model.ckpt-8*"):
        file.unlink()
    assert train(sample_set, run_dir, "--resume", "--limit", "3", validation_interval=3) == 0
    assert run_folder.read_log(run_dir, run_folder.VALIDATION) == measured


def test_validation_measures_what_evaluate_measures(sample_set, tmp_path):
    run_dir = tmp_path / "r"
    assert train(sample_set, run_dir, "--limit", "3", validation_interval=8) == 0
    arguments = [
        "--data",
        sample_set,
        "--checkpoint",
        run_dir / "model.ckpt-8",
        "--out",
        tmp_path / "e",
        "--limit",
        "3",
    ]
    assert run("evaluate", *arguments, "--quiet") == 0
    (measured,) = run_folder.read_log(run_dir, run_folder.VALIDATION)
    assert measured["miou"] == json.loads((tmp_path / "e/metrics.json").read_text())["miou"]


def test_validation_needs_a_val_split(sample_set, tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("JPEGImages", "SegmentationClassAug"):
        (data / name).symlink_to(sample_set / name)
    (data / "train.txt").write_text((sample_set / "ImageSets/Segmentation/train.txt").read_text())
    message = error_of(capsys, train(data, tmp_path / "r", "--split", "train", validation_interval=3))
    assert "no split 'val'" in message
    assert "validation_interval=0" in message
