"""Every kind of network leaves in every format, from a process of its own, for some take gigabytes."""

import importlib
import json
import subprocess
import sys

import pytest

from common.export.interface import FILES
from tests.conftest import ROOT
from tests.helpers.random_weights import write_random_weights

# The dense prediction cell, the designs from JSON, and the backbones that they are tried with.
NETWORKS = [
    ("v1", "paper"),
    ("v2", "deeplab_msc"),
    ("v3", "cascade"),
    ("v3plus", "xception71_dpc_cityscapes_trainfine"),
    *(("v3plus_simplified", name)
      for name in ("xception", "mobilenetv2", "densenet121", "nasnetmobile", "efficientnetb0")),
]  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize(("name", "variant"), NETWORKS)
def test_a_network_in_every_format(name, variant, tmp_path):
    reproduction = importlib.import_module(f"reproductions.{name}").REPRODUCTION
    recipe = reproduction.variants[variant]
    weights = write_random_weights(tmp_path / "w.npz", reproduction.load_network(), recipe)
    command = [sys.executable, "-m", f"reproductions.{name}", "export", "--checkpoint", weights, "--limit", "1",
               "--quiet", "--size", "97x97", "--set", f"variant={variant}", "--out", tmp_path / "out"]  # fmt: skip
    if recipe.eval_size != "native":
        command[-2:-2] = ["eval_size=97"]
    for format in FILES:
        done = subprocess.run([*map(str, command), "--format", format], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "out/export.json").read_text())["exports"]
    assert list(entries) == list(FILES)
    assert min(entry["agreement"] for entry in entries.values()) >= 0.999
