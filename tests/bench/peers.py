"""The peers' side of the contests, in an environment of their own: label maps by the same ONNX file."""

import os
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Label = Callable[[np.ndarray], np.ndarray]  # a picture, uint8 [h, w, 3], to its label map, uint8 [h, w]


def onnxruntime(model: str) -> Label:
    """ONNX Runtime, float32, all its graph optimisations."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda picture: session.run(None, {name: picture})[0]


def openvino(model: str, precision: str = "fp32") -> Label:
    """OpenVINO for one picture at a time, with its inference precision as a hint."""
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision), "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(model), "CPU", hints)
    request = compiled.create_infer_request()
    return lambda picture: request.infer([picture])[compiled.output(0)].copy()


def torch(model: str, precision: str = "fp32") -> Label:
    """Torch without a compiler, channels last; in bf16 from the picture to the scores."""
    import torch

    network = _torch_module(model).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if precision == "bf16":
        network = network.bfloat16()
        for module in network.modules():
            if getattr(module, "torch_dtype", None) == torch.float32:
                module.torch_dtype = torch.bfloat16

    @torch.inference_mode()
    def label(picture: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(picture)).numpy()

    return label


def _torch_module(model: str) -> Any:
    """The ONNX file as a torch module; onnx2torch imports torchvision for two ops that no network here has."""
    ops = types.ModuleType("torchvision.ops")
    ops.roi_align = None
    stub = types.ModuleType("torchvision")
    stub.ops = ops
    sys.modules |= {"torchvision": stub, "torchvision.ops": ops}
    warnings.simplefilter("ignore")
    import onnx
    import onnx2torch

    read = onnx.load(model)
    scales = {node.input[2] for node in read.graph.node if node.op_type == "Resize" and node.input[2]}
    for values in read.graph.initializer:
        if values.name in scales:  # up a little: torch rounds sizes down, and 129 * (513 / 129) would be 512
            factors = onnx.numpy_helper.to_array(values)
            up = np.where(factors > 1, factors * np.float32(1 + 1e-6), factors)
            values.CopyFrom(onnx.numpy_helper.from_array(up, values.name))
    return onnx2torch.convert(read)


ENGINES = {"onnxruntime": onnxruntime, "openvino": openvino, "torch": torch}


def label(engine: str, model: str, picture: str, **options: str) -> Callable[[], np.ndarray]:
    """The engine's label map of a picture."""
    pixels, run = np.load(picture), ENGINES[engine](model, **options)
    return lambda: run(pixels)


def main() -> None:
    """`python -m tests.bench.peers ENGINE MODEL PICTURE OUT [PRECISION]`: a picture file to a file of class ids."""
    from PIL import Image

    engine, model, picture, out, *precision = sys.argv[1:]
    run = ENGINES[engine](model, *precision)
    Image.fromarray(run(np.asarray(Image.open(picture).convert("RGB")))).save(out)


if __name__ == "__main__":
    main()
