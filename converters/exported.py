"""The recipes of files that this suite exported: in the file, or in the summary beside it."""

import contextlib
from pathlib import Path
from typing import Any

from common.engines.network_file import SAVED_MODEL, SUMMARY, NetworkFile, format_of
from common.errors import UserError

# Fields of a recipe that belong to the run of a network's file, and not to the weights in it.
NOT_OF_WEIGHTS = ("network_file", "engine", "input_node", "labels_node", "probabilities_node", "scores_node")


def exported_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe, in JSON types, with which this suite exported a network's file; None for another or a changed one.

    Args:
      path: the file, a SavedModel's folder, or a folder with one graph in it.
    """
    if path.is_dir() and not (path / SAVED_MODEL).is_file():
        graphs = list(path.rglob("*.pb"))
        path = graphs[0] if len(graphs) == 1 else path
    if path.name == SAVED_MODEL:
        path = path.parent
    name = format_of(path)
    if name is None or not (name == "onnx" or (path.parent / SUMMARY).is_file()):
        return None
    with contextlib.suppress(UserError), contextlib.closing(NetworkFile(path)) as file:
        return file.recipe()
    return None
