"""Preparations of data sets from the small archives: what a person brings, how they fail, and what comes after."""

import json
from pathlib import Path

import numpy as np

from common.data import tfrecord
from common.data.card import DatasetCard
from common.data.check import __main__ as check
from common.data.lists import read_split
from tests.helpers import tiny

BY_HAND = ("gtFine_trainvaltest.zip", "leftImg8bit_trainvaltest.zip")


def put_by_hand(folder: Path, archives: dict[str, bytes], wanted: tuple[str, ...] = BY_HAND) -> None:
    """Put Cityscapes' zips where a person puts them."""
    (folder / "data/cityscapes").mkdir(parents=True, exist_ok=True)
    for name in wanted:
        (folder / "data/cityscapes" / name).write_bytes(archives[name])


def error(result: tuple[int, str, str]) -> str:
    """The one sentence of a run that failed."""
    code, _, err = result
    sentences = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(sentences) == 1
    assert err.splitlines()[-1] == sentences[0]
    return sentences[0]


def goes_through(folder: Path, card: DatasetCard, out: Path) -> dict:
    """Check a prepared folder, write TFRecords, train two steps on them and evaluate; returns metrics.json."""
    arguments = [str(folder), "--dataset", card.name, "--out", str(out / "chart.png"), "--workers", "1", "--quiet"]
    assert check.main([*arguments, "--json", str(out / "check.json")]) == 0
    for split in ("train", "val"):
        build = [
            "build",
            "--data",
            folder,
            "--split",
            split,
            "--shards",
            1,
            "--out",
            out / "records",
            "--dataset",
            card.name,
        ]
        assert tfrecord.main([*map(str, build), "--quiet"]) == 0
        there, here = (read_split(card, data, split) for data in (folder, out / "records"))
        for k in range(len(there.pairs)):
            assert all(np.array_equal(a, b) for a, b in zip(there.read(k), here.read(k), strict=True))
    fields = [f"dataset={card.name}", f"num_classes={len(card.classes)}", "train_split=train", "num_steps=2"]
    how = ["--set", *fields, "batch_size=2", "class_weights=auto", "calibration_batches=1"]
    assert tiny.run("train", "--data", out / "records", "--run-dir", out / "run", *how, "--quiet") == 0
    evaluate = ["--split", "val", "--checkpoint", out / "run/model.ckpt-2", "--out", out / "val", "--quiet"]
    assert tiny.run("evaluate", "--data", folder, *evaluate) == 0
    return json.loads((out / "val/metrics.json").read_text())
