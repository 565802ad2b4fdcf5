"""Finds the cases of a golden file; nothing about them is listed here (see tests/golden/README.md)."""

import importlib.util
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from tests.conftest import GOLDEN_DIR, ROOT


def load(name: str, folder: Path = GOLDEN_DIR) -> dict[str, dict[str, np.ndarray]]:
    """Case -> field -> array, of `<name>.npz`; empty when the file is absent."""
    path = folder / f"{name}.npz"
    cases = defaultdict(dict)
    if path.is_file():
        archive = np.load(path, allow_pickle=False)
        for key in archive.files:
            case, _, field = key.rpartition("/")
            cases[case][field] = archive[key]
    return dict(cases)


def _weights_module():
    path = next(p for p in (GOLDEN_DIR / "weights.py", ROOT / "tests/golden/weights.py") if p.is_file())
    spec = importlib.util.spec_from_file_location("golden_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


weights = _weights_module()


def fill(session) -> None:
    """The golden weights into every variable of the network on the default graph, whatever else starts as it does."""
    from common.tf1 import tf

    variables = tf.model_variables()
    session.run(tf.global_variables_initializer())
    values = {v.initializer.inputs[1]: weights.weight(v.op.name, v.shape) for v in variables}
    session.run([v.initializer for v in variables], values)


def parsed(array: np.ndarray):
    """A JSON field."""
    return json.loads(str(array))


def inputs(case: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A case's pictures, uint8 [n, h, w, 3], and labels, uint8 [n, h, w, 1]."""
    about = parsed(case["input"])
    size = about["seed"], about["height"], about["width"], about["batch"]
    return weights.image(*size), weights.label(*size)


def relative(value, reference) -> float:
    """The largest difference over the largest reference value."""
    return float(np.abs(np.asarray(value) - reference).max() / np.abs(reference).max())
