"""A working folder with a fetched checkpoint, a run's, and an exported file, all of small networks."""

import pytest

from common.downloads.origin import folder_of
from common.export.folder import publish
from common.files import write_json
from common.training.run_folder import SUMMARY
from common.training.seen import suite_manifest
from common.weights import checkpoints
from tests.helpers import graph_files, small_v3plus

FETCHED, RUN, EXPORTED = "max_image_segmenter/model.ckpt", "mine/model.ckpt-8 (drawn pictures)", "export/model.pb"


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The folder."""
    folder = tmp_path_factory.mktemp("world")
    values = small_v3plus.values(golden=True)
    values |= {name: 20 * values[name] for name in ("logits/semantic/weights", "logits/semantic/biases")}
    weights = folder / folder_of(suite_manifest().entry("max_image_segmenter"))
    for path in (weights, folder / "runs/mine", folder / "out/export"):
        path.mkdir(parents=True)
    checkpoints.write(weights / "model.ckpt", values)
    checkpoints.write(folder / "runs/mine/model.ckpt-8", small_v3plus.values(golden=True))
    write_json(folder / "runs/mine" / SUMMARY, {"command": "python -m reproductions.v3plus train", "sample": True})
    path, _ = graph_files.write_frozen(folder / "out/export", values=values)
    note = {"reproduction": "v3plus", "recipe": graph_files.RECIPE.to_json()}
    publish(folder / "out/export", "frozen", path, note)
    return folder
