"""The protocol of a number: how its labels were made and compared, in records and in published.yaml alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from common.engines.programs import PROGRAMS
from common.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that must be equal before two numbers are compared. None means that no source tells it.

    Attributes:
      output_stride: the evaluation's; also None for v1 and v2, whose networks have only one.
      size: 'native', or the side that pictures are padded to.
      resize_range: smallest short side and largest long side that pictures are resized to first; () for none.
      crop: side of the one crop of each picture that was evaluated; 0 for whole pictures. Ours are whole.
      scales: factors at which each picture is evaluated.
      mirror: whether each picture is also evaluated mirrored.
      fusion: how the results at several scales are combined.
      tile: side of the overlapping tiles that pictures are cut into; 0 for whole pictures.
      overlap: pixels that tiles share.
      msc: scales whose scores the network itself fuses by the maximum; () for one.
      crf: whether the dense CRF refines the result.
      void: whether void pixels are left out, or count as class 0.
      precision: in which the network computes.
      engine: what runs it.
      network_file: what a network's file is and fixes, in words; empty for checkpoints.
      told: whether the source tells it at all.
    """

    output_stride: int | None = None
    size: Literal["native"] | int | None = None
    resize_range: tuple[int, ...] = ()
    crop: int = 0
    scales: tuple[float, ...] | None = (1.0,)
    mirror: bool | None = False
    fusion: Literal["mean_probability", "max_logits"] = "mean_probability"
    tile: int = 0
    overlap: int = 0
    msc: tuple[float, ...] = ()
    crf: bool = False
    void: Literal["ignored", "background"] = "ignored"
    precision: Literal["fp32", "bf16"] = "fp32"
    engine: Literal["tensorflow", "onnxruntime", "openvino"] = "tensorflow"
    network_file: str = ""
    told: bool = True

    @classmethod
    def of_record(cls, protocol: Mapping[str, Any]) -> Self:
        """Read the protocol of a record, as `Recipe.protocol` wrote it."""
        return cls(
            output_stride=protocol.get("output_stride"),
            size=protocol["eval_size"],
            resize_range=tuple(protocol.get("resize_range", ())),
            scales=tuple(protocol["scales"]),
            mirror=protocol["flip"],
            fusion=protocol.get("scale_fusion") or "mean_probability",
            tile=protocol.get("eval_tile", 0),
            overlap=protocol.get("eval_overlap", 0),
            msc=tuple(protocol.get("msc_scales", ())),
            crf=protocol.get("crf") is not None,
            void="background" if protocol.get("void") else "ignored",
            precision=protocol.get("precision", "fp32"),
            engine=protocol.get("engine", "tensorflow"),
            network_file=protocol.get("network_file", ""),
        )

    @property
    def is_ours(self) -> bool:
        """Whether our `evaluate` can do it: pictures are whole, and nothing is unknown."""
        return not self.why_not_ours

    @property
    def why_not_ours(self) -> str:
        """Why our `evaluate` cannot do it; empty where it can."""
        if self.crop:
            return f"one crop of {self.crop} of each picture, where ours takes whole ones"
        unknown = [name for name in ("pictures' size", "scales", "mirror") if getattr(self, name.split()[-1]) is None]
        if not self.told or unknown:
            return f"the source does not tell its {', '.join(unknown) if self.told else 'protocol'}"
        return ""

    def changes(self, recipe: Recipe, keep_size: bool = False) -> dict[str, Any]:
        """The fields to change in `recipe` so that it evaluates by this protocol; with `keep_size` the size is not
        changed."""
        wanted = {
            "eval_output_stride": self.output_stride,
            "eval_scales": self.scales,
            "eval_flip": self.mirror,
            "scale_fusion": self.fusion,
            "eval_tile": self.tile,
            **({"eval_overlap": self.overlap} if self.tile else {}),
            "msc_scales": self.msc or (1.0,),
            "crf": self.crf,
            "precision": self.precision,
        }
        if not keep_size:
            wanted |= {"resize_range": self.resize_range, "eval_size": self.size}
        told = {name: value for name, value in wanted.items() if value is not None}
        return {name: value for name, value in told.items() if getattr(recipe, name, value) != value}

    def text(self) -> str:
        """`native, scale 1`, `OS 8, sides brought to 513..513, padded to 513, scales 0.5 1 + mirror`, ..."""
        if not self.told:
            return "not told"
        parts = [f"OS {self.output_stride}"] if self.output_stride else []
        if self.resize_range:
            parts.append(f"sides brought to {self.resize_range[0]}..{self.resize_range[1]}")
        if self.crop:
            parts.append(f"crops of {self.crop}")
        elif self.size:
            parts.append("native" if self.size == "native" else f"padded to {self.size}")
        if self.tile:
            parts.append(f"tiles of {self.tile} that share {self.overlap}")
        parts.append(self._scales_text())
        if self.msc:
            parts.append(f"MSC {_numbers(self.msc)}")
        if self.fusion != "mean_probability":
            parts.append("scores fused by the maximum")
        if self.void == "background":
            parts.append("void as background")
        if self.precision != "fp32":
            parts.append(self.precision)
        if self.network_file:
            parts.append(f"as {self.network_file.partition(';')[0]}")
        if self.engine != "tensorflow":
            parts.append(f"by {PROGRAMS[self.engine].title}")
        mirror = {True: " + mirror", False: "", None: ", mirror not told"}[self.mirror]
        return ", ".join(parts) + mirror + (" + CRF" if self.crf else "")

    def _scales_text(self) -> str:
        if self.scales is None:
            return "several scales"
        return f"scale{'s' if len(self.scales) > 1 else ''} {_numbers(self.scales)}"


def protocol_text(protocol: Mapping[str, Any]) -> str:
    """A record's protocol in words."""
    return Protocol.of_record(protocol).text()


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
