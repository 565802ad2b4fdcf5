"""The parts of the bench: what each measures, and who takes part in it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.data import sample
from common.data.lists import read_split
from common.data.masks import read_pair
from common.data.sets.voc import VOC2012
from common.data.shards import build
from common.engines.programs import PROGRAMS
from common.export.folder import size_in_bytes
from common.export.interface import FILES, FIXED_SIZE
from common.paths import ROOT
from tests.bench.contest import NOT_INSTALLED, PEERS, CannotRun, Contestant, Worker, contest, process, processes
from tests.bench.networks import NETWORKS, PICTURE
from tests.conftest import SHARED
from tests.helpers.ports import free_addresses

PEER_PACKAGES = ("onnxruntime", "openvino", "torch", "onnx2torch", "onnx")
SCALES = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
LARGE = (4000, 3000)  # width, height
EXPORTED = (257, 257)  # the pictures of exported files
NOISE = 4  # levels of 255; makes JPEGs of quality 95 as large as VOC's
Figures = dict[str, Any]


class Workshop:
    """What the parts share, made when it is first needed: the peers' versions, weights, ONNX files, pictures."""

    def __init__(self, folder: Path, rounds: int):
        self.folder, self.rounds = folder, rounds
        self._exported: dict[str, tuple[str, str, str]] = {}

    @cached_property
    def installed(self) -> dict[str, str]:
        """The peers' packages and their versions; none when their environment was not made."""
        program = (
            "import importlib.metadata, json, sys\n"
            "found = {d.metadata['Name']: d.version for d in importlib.metadata.distributions()}\n"
            "print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))"
        )
        try:
            done = subprocess.run([PEERS, "-c", program, *PEER_PACKAGES], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return {}
        return json.loads(done.stdout)

    def exported(self, network: str) -> tuple[str, str, str]:
        """The network's weight file, its ONNX file, and why there is no such file, else an empty text."""
        if network not in self._exported:
            folder = self.folder / network
            folder.mkdir()
            why, words = ("", ["onnx"]) if self.installed else (NOT_INSTALLED, [])
            if failed := _failure([sys.executable, "-m", "tests.bench.export", network, str(folder), *words]):
                raise CannotRun(failed)
            self._exported[network] = str(folder / "weights.npz"), str(folder / "model.onnx"), why
        return self._exported[network]

    def prepare(self, network: str) -> None:
        """Fill an engine cache of the bench's own with the network, for all engines that are installed."""
        os.environ["DEEPLAB_CACHE"] = str(self.folder / "cache")
        for engine, precision in installed_engines().values():
            with Worker(self.by_engine(network, engine, precision).command()) as worker:
                worker.ask()

    def by_engine(self, network: str, engine: str, precision: str) -> Contestant:
        """The product by one of its other engines."""
        fields = {"network": network, "weights": self.exported(network)[0], "picture": self.picture()}
        return Contestant("tests.bench.prepared:label", fields | {"engine": engine, "precision": precision})

    def picture(self, size: tuple[int, int] = PICTURE) -> str:
        """A picture of (width, height), as .npy; its mask lies beside it, see `mask`."""
        path = self.folder / f"{size[0]}x{size[1]}.npy"
        if not path.exists():
            picture, mask = (Image.fromarray(array) for array in _picture_and_mask())
            np.save(path, np.asarray(picture.resize(size, Image.BILINEAR)))
            np.save(self.mask(size), np.asarray(mask.resize(size, Image.NEAREST)))
        return str(path)

    def mask(self, size: tuple[int, int]) -> str:
        """The file of the picture's mask."""
        return str(self.folder / f"{size[0]}x{size[1]}_mask.npy")

    def contest(self, contestants: Mapping[str, Contestant], without: str = "") -> Figures:
        """Figures of the contest; `without` says why peers cannot take part."""
        peers = {} if without else self.installed
        figures = contest(contestants, self.rounds, peers)
        for name, contestant in contestants.items():
            if without and contestant.package:
                figures[name] = {"skipped": without}
        return figures


# The product's other engines: name -> engine and precision.
ENGINES = {
    "onnxruntime": ("onnxruntime", "fp32"),
    "openvino": ("openvino", "fp32"),
    "openvino bf16": ("openvino", "bf16"),
}


def installed_engines() -> dict[str, tuple[str, str]]:
    """Those of ENGINES that are installed here."""
    return {name: pair for name, pair in ENGINES.items() if PROGRAMS[pair[0]].is_installed}


def _failure(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip().split("\n")[-1][:200] or "failed")


def _picture_and_mask() -> tuple[np.ndarray, np.ndarray]:
    """A real picture with its mask where there are some, else a drawn one."""
    folder = SHARED / "data/VOC2012-subset"
    if not folder.is_dir():
        return sample.draw(7)
    path = next(p for p in sorted((folder / "JPEGImages").glob("*.jpg")) if Image.open(p).size == (500, 375))
    return read_pair(path, folder / f"SegmentationClassAug/{path.stem}.png", VOC2012)


@dataclass(frozen=True)
class Part:
    """A part: its row's title in the tables, and the function that measures it."""

    title: str
    measure: Callable[[Workshop], Figures]


def product(function: str, **fields: Any) -> dict[str, Contestant]:
    """The product in both precisions."""
    return {
        name: Contestant(f"tests.bench.product:{function}", fields | {"precision": precision})
        for name, precision in (("product", "fp32"), ("product bf16", "bf16"))
    }


def one_picture(network: str) -> Callable[[Workshop], Figures]:
    """The label map of one picture of 513x513, by the product and by all peers."""

    def measure(shop: Workshop) -> Figures:
        weights, model, why = shop.exported(network)
        picture = shop.picture()

        def peer(engine: str, package: str, **options: str) -> Contestant:
            return Contestant(
                "tests.bench.peers:label", {"engine": engine, "model": model, "picture": picture, **options}, package
            )

        contestants = product("label", network=network, weights=weights, picture=picture) | {
            "onnxruntime": peer("onnxruntime", "onnxruntime"),
            "openvino": peer("openvino", "openvino"),
            "openvino bf16": peer("openvino", "openvino", precision="bf16"),
            "torch": peer("torch", "torch"),
            "torch bf16": peer("torch", "torch", precision="bf16"),
        }
        return shop.contest(contestants, without=why)

    return measure


def exports(network: str) -> Callable[[Workshop], Figures]:
    """A network's exported files: what writing each takes, and its label map of one picture, run by its own program."""

    def measure(shop: Workshop) -> Figures:
        chosen, weights, picture = NETWORKS[network], shop.exported(network)[0], shop.picture(EXPORTED)
        folder, written, contestants = shop.folder / f"{network}_exports", {}, {}
        command = [sys.executable, "-m", f"reproductions.{chosen.reproduction}", "export", "--checkpoint", weights]
        command += ["--out", str(folder), "--limit", "1", "--quiet", *chosen.settings()]
        for name, file in FILES.items():
            size = ["--size", "x".join(map(str, EXPORTED))] if name in FIXED_SIZE else []
            taken = process([*command, "--format", name, *size])
            written[name] = {
                "bytes": size_in_bytes(folder / file),
                "export_seconds": round(taken["seconds"], 2),
                "export_peak_mib": taken["peak_mib"],
            }
            fields = {"name": name, "path": str(folder / file), "picture": picture}
            contestants[name] = Contestant("tests.bench.exported:label", fields)
        suite = Contestant("tests.bench.product:label", {"network": network, "weights": weights, "picture": picture})
        figures = shop.contest({"product": suite} | contestants)
        return {name: found | written.get(name, {}) for name, found in figures.items()}

    return measure


def by_engines(network: str) -> Callable[[Workshop], Figures]:
    """The label map of one picture of 513x513 by the product's other engines, by TensorFlow, and by the peers."""

    def measure(shop: Workshop) -> Figures:
        weights, model, why = shop.exported(network)
        fields = {"network": network, "weights": weights, "picture": shop.picture(), "precision": "fp32"}
        shop.prepare(network)
        contestants = {"product": Contestant("tests.bench.product:label", fields)}
        for name, (engine, precision) in installed_engines().items():
            contestants[f"by {name}"] = shop.by_engine(network, engine, precision)
        for name in (*ENGINES, "torch", "torch bf16"):
            engine, _, precision = name.partition(" ")
            fields = {"engine": engine, "model": model, "picture": shop.picture()}
            fields |= {"precision": precision} if precision else {}
            contestants[name] = Contestant("tests.bench.peers:label", fields, engine)
        return shop.contest(contestants, without=why)

    return measure


def start_by_engines(network: str) -> Callable[[Workshop], Figures]:
    """From the start of a process to its first label map by the product's other engines, and by the peers."""

    def measure(shop: Workshop) -> Figures:
        shop.prepare(network)
        return start(network, installed_engines())(shop)

    return measure


def several_scales(network: str) -> Callable[[Workshop], Figures]:
    """Six scales, each mirrored too, on one picture."""

    def measure(shop: Workshop) -> Figures:
        weights, picture = shop.exported(network)[0], shop.picture()
        fields = {"eval_scales": SCALES, "eval_flip": True}
        return shop.contest(product("label", network=network, weights=weights, picture=picture, **fields))

    return measure


def large_picture(shop: Workshop) -> Figures:
    """A picture of 4000x3000 at its own size."""
    weights, picture = shop.exported("mobilenetv2_os16")[0], shop.picture(LARGE)
    return shop.contest(product("label", network="mobilenetv2_os16", weights=weights, picture=picture))


def start(network: str, engines: Mapping[str, tuple[str, str]] | None = None) -> Callable[[Workshop], Figures]:
    """From the start of a process to its first label map on the disk: the product's command, and peers' scripts.

    `engines` of the product take part too: name -> engine and precision.
    """

    def measure(shop: Workshop) -> Figures:
        weights, model, why = shop.exported(network)
        picture, out = shop.folder / "picture.png", shop.folder / "first"
        Image.fromarray(np.load(shop.picture())).save(picture)

        def peer(engine: str, *precision: str) -> list[str] | str:
            if why or engine not in shop.installed:
                return why or NOT_INSTALLED
            words = [engine, model, str(picture), str(shop.folder / "first.png"), *precision]
            return [str(PEERS), "-m", "tests.bench.peers", *words]

        chosen = NETWORKS[network]
        words = [sys.executable, "-m", f"reproductions.{chosen.reproduction}", "predict", str(picture)]
        words += ["--checkpoint", weights, "--out", str(out), *chosen.settings()]
        commands = {
            "product": [*words, "--engine", "tensorflow"],
            **{
                f"by {name}": [*words, "--engine", engine, "--precision", precision]
                for name, (engine, precision) in (engines or {}).items()
            },
            "onnxruntime": peer("onnxruntime"),
            "openvino": peer("openvino"),
            "openvino bf16": peer("openvino", "bf16"),
            "torch": peer("torch"),
        }
        return processes(commands, shop.rounds)

    return measure


def training(network: str, crops: int, size: int, peers: bool = False) -> Callable[[Workshop], Figures]:
    """An update of the weights."""

    def measure(shop: Workshop) -> Figures:
        contestants = product("update", network=network, crops=crops, size=size)
        if peers:
            fields = {"crops": crops, "size": size}
            contestants |= {
                "torch": Contestant("tests.bench.torch_v2:update", fields, "torch"),
                "torch bf16": Contestant("tests.bench.torch_v2:update", fields | {"precision": "bf16"}, "torch"),
            }
        return shop.contest(contestants)

    return measure


def crf(width: int, height: int) -> Callable[[Workshop], Figures]:
    """The dense CRF: 21 classes, 10 iterations."""

    def measure(shop: Workshop) -> Figures:
        fields = {"picture": shop.picture((width, height)), "mask": shop.mask((width, height))}
        names = ("product", "pydensecrf")
        return shop.contest({name: Contestant(f"tests.bench.refinement:{name}", fields) for name in names})

    return measure


def dilation(shop: Workshop) -> Figures:
    """ResNet-101 with TensorFlow's own dilated convolution, and decomposed into convolutions of shuffled pictures."""
    weights, picture = shop.exported("resnet101")[0], shop.picture()
    fields = {"network": "resnet101", "weights": weights, "picture": picture}
    kinds = {"native": "regular", "decomposed": "decompose"}
    return shop.contest(
        {n: Contestant("tests.bench.product:label", fields | {"dilated_type": k}) for n, k in kinds.items()}
    )


def ops(shop: Workshop) -> Figures:
    """An update that runs one op at a time, as training does, and one that runs ops side by side."""
    fields = {"network": "resnet101", "crops": 2, "size": 321}
    kinds = {"one op at a time": False, "side by side": True}
    return shop.contest(
        {n: Contestant("tests.bench.product:update", fields | {"side_by_side": k}) for n, k in kinds.items()}
    )


def sample_input(shop: Workshop) -> Figures:
    """Batches of the sample recipe: decode, scale, mirror, crop 145."""
    fields = {"folder": str(shop.folder / "sample")}
    return shop.contest({"12 batches of 4": Contestant("tests.bench.product:batch", fields)})


def real_input(shop: Workshop) -> Figures:
    """Batches of 4 crops of 513 from VOC-sized pictures, in a folder and in TFRecords, and an update with one."""
    folder, records = shop.folder / "folder", shop.folder / "tfrecords"
    if not records.exists():
        _voc_sized(folder)
        build.build(read_split(VOC2012, folder, "train"), records, 4, workers=2, quiet=True)
    one = {"network": "mobilenetv2_os16", "crops": 4}
    contestants = {
        f"12 batches of 4 from {what}": Contestant("tests.bench.product:batch", one | {"folder": str(path)})
        for what, path in (("a folder", folder), ("TFRecords", records))
    }
    return shop.contest(
        contestants | {"an update with one": Contestant("tests.bench.product:update", one | {"size": 513})}
    )


def replicas(shop: Workshop) -> Figures:
    """An update in one process, on two devices of it, and on two hosts, which share this machine's cores."""
    fields = {"network": "resnet50", "crops": 4, "size": 129}
    return shop.contest(
        {
            "one process": Contestant("tests.bench.replicas:update", fields),
            "2 devices": Contestant("tests.bench.replicas:update", fields | {"devices": 2}),
            "2 hosts": Contestant("tests.bench.replicas:update_on_hosts", fields | {"addresses": free_addresses(2)}),
        }
    )


def feed(shop: Workshop) -> Figures:
    """From NumPy's memory to TensorFlow's, with and without a copy."""
    ways = {"at a multiple of 64 bytes": True, "elsewhere": False}
    return shop.contest(
        {name: Contestant("tests.bench.replicas:feed", {"is_aligned": way}) for name, way in ways.items()}
    )


def _voc_sized(folder: Path) -> None:
    """The drawn set, pictures and masks enlarged to 500 x 375, with a camera's noise, about 95 KB a JPEG, as VOC's."""
    sample.write(folder)
    rng = np.random.RandomState(0)
    for path in folder.glob("SegmentationClassAug/*"):
        Image.open(path).resize((500, 375), Image.NEAREST).save(path)
    for path in sorted(folder.glob("JPEGImages/*")):
        pixels = np.asarray(Image.open(path).resize((500, 375), Image.NEAREST))
        noisy = np.clip(pixels + rng.normal(0, NOISE, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, quality=95)


PARTS = {
    **{f"picture_{n}": Part(f"513x513: {NETWORKS[n].title}", one_picture(n))
       for n in ("mobilenetv2_os8", "mobilenetv2_os16", "resnet101", "xception65", "largefov")},
    **{f"scales_{n}": Part(f"513x513, 6 scales and mirror: {NETWORKS[n].title}", several_scales(n))
       for n in ("mobilenetv2_os8", "mobilenetv2_os16")},
    "large_picture": Part(f"4000x3000: {NETWORKS['mobilenetv2_os16'].title}", large_picture),
    **{f"start_{n}": Part(f"process start to label map: {NETWORKS[n].title}", start(n))
       for n in ("mobilenetv2_os8", "resnet101")},
    "update_resnet101": Part("update, 2 crops of 321: v2 ResNet-101", training("resnet101", 2, 321, peers=True)),
    **{f"update_{n}": Part(f"update, 2 crops of 513: {NETWORKS[n].title}", training(n, 2, 513))
       for n in ("mobilenetv2_os16", "xception65")},
    **{f"crf_{w}x{h}": Part(f"dense CRF, {w}x{h}, 21 classes", crf(w, h)) for w, h in ((500, 375), (2048, 1024))},
    **{f"export_{n}": Part(NETWORKS[n].title, exports(n))
       for n in ("largefov", "resnet101", "resnet50", "mobilenetv2_os16", "xception65", "simplified")},
    **{f"engines_picture_{n}": Part(f"513x513, other engines: {NETWORKS[n].title}", by_engines(n))
       for n in ("mobilenetv2_os8", "mobilenetv2_os16", "resnet101", "xception65")},
    "engines_start_mobilenetv2_os8": Part(
        f"process start to label map, other engines: {NETWORKS['mobilenetv2_os8'].title}",
        start_by_engines("mobilenetv2_os8"),
    ),
    "replicas": Part("update, 4 crops of 129: v3 ResNet-50, live batch norm, divided on this machine", replicas),
    "feed": Part("feeding 16 crops of 513, 100 times", feed),
    "dilation": Part("513x513: v2 ResNet-101, native or decomposed dilation", dilation),
    "ops": Part("update, 2 crops of 321: v2 ResNet-101, ops in order or side by side", ops),
    "input_sample": Part("input: sample pictures, crops of 145", sample_input),
    "input_513": Part("input: pictures of 500x375, crops of 513; an update of MobileNetV2", real_input),
}  # fmt: skip
