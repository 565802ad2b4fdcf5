"""Read a prototxt: its text, the lines where its layers begin, and its fields that the schema does not have."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_encoding, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from common.errors import UserError, brief, plain_reason
from converters.caffe_schema import NetParameter

MAX_BINARY_BYTES = (2 << 30) - 1  # protobuf's own limit
MAX_DEPTH = 32  # braces within braces; Caffe's messages nest five deep

# A string that is not closed ends with its line, so that no text takes more than linear time.
_STRING = r"""#[^\n]*|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?"""
_TOKEN = re.compile(_STRING + r"""|\w+|[\n{}<>:;,\[\]]|[^\s\w"'#{}<>:;,\[\]]+""")
_V1_TYPE = re.compile(rf"({_STRING})|\btype(\s*:\s*)([A-Z][A-Z0-9_]*)\b")
_ABSOLUTE = re.compile(r"[A-Za-z]:\\|\\\\")  # how Windows' paths begin

# Enumerations that choose how a result is computed or where data lie, but not which result: forks have more of them.
_FREE_ENUMS = {"Engine", "DB", "DimCheckMode", "VarianceNorm", "LabelType"}
# Messages that speak of training alone.
_TRAINING = {"ParamSpec", "FillerParameter", "TransformationParameter"}
# Fields of forks that change nothing that a net computes for testing: precision and algorithms, training, notes.
HARMLESS = {
    "forward_type", "backward_type", "forward_math", "backward_math", "default_forward_type", "default_backward_type",
    "conv_algos_override", "cudnn_math_override", "cudnn_convolution_algo_seeker", "engine", "debug", "debug_info",
    "blobs_lr", "weight_decay", "diff_scale", "weight_filler", "bias_filler", "filler", "moving_average_fraction",
    "propagate_down", "loss_weight", "lr_mult", "decay_mult", "name", "comment",
}  # fmt: skip


@dataclass(frozen=True)
class Unknown:
    """A field that the schema does not have: its name, its line, and the position of its layer (None: of the net)."""

    name: str
    line: int
    layer: int | None
    is_free: bool  # whether it changes no result of the net


@dataclass
class Outline:
    """The facts of a prototxt that protobuf does not tell.

    Attributes:
      lines: where layers begin, from 1.
      unknown: the fields that are not in the schema, in order.
      other_values: (text, first and last character) of fields whose value is none of the schema's and says nothing of
        the result, such as `engine: MKL2017`.
    """

    lines: list[int] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    other_values: list[tuple[str, int, int]] = field(default_factory=list)


def read_bytes(path: Path, limit: int = MAX_BINARY_BYTES) -> bytes:
    """The file's content. Raises UserError when it is missing, empty or larger than `limit`."""
    try:
        if path.stat().st_size > limit:
            with path.open("rb") as stream:
                binary = limit < MAX_BINARY_BYTES and as_text(stream.read(1 << 16)) is None
            hint = ", and binary; are prototxt and caffemodel swapped?" if binary else ""
            raise UserError(f"{path}: is larger than {limit >> 20} MiB{hint}")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if not content.strip():
        raise UserError(f"{path}: is empty")
    return content


def as_text(content: bytes) -> str | None:
    """The content as text, by its mark in UTF-8 or UTF-16; None when it is binary. Comments may be in any encoding."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content[: len(content) // 2 * 2].decode("utf-16", errors="replace")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if re.search(rb"[\x00-\x08\x0e-\x1f]", content[: 1 << 16]):
        return None
    return content.decode("utf-8", errors="replace")


def parse(path: Path, text: str) -> tuple[Message, Outline]:
    """The NetParameter that a prototxt describes, and its outline. Raises UserError with file and line."""
    found = _outline(path, text)
    for _, start, end in reversed(found.other_values):
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    text = re.sub(_STRING, _with_plain_backslashes, text)
    # V1's types are bare words of an enumeration that every fork numbers anew; they are read as strings.
    text = _V1_TYPE.sub(lambda m: m[1] or f'type{m[2]}"{m[3]}"', text)
    proto = NetParameter()
    try:
        text_format.Parse(text, proto, allow_unknown_field=True)
    except text_format.ParseError as error:
        line = error.GetLine() or 1
        reason = brief(" ".join(str(error).rpartition("': ")[2].split()))  # behind the place and the whole line
        if "\\" in (text.split("\n")[line - 1 : line] or [""])[0]:
            reason += "; in strings a backslash changes the next character: write paths with /"
        raise UserError(f"{path}:{line}: is no valid prototxt: {reason}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no valid prototxt: {plain_reason(error)}") from None
    if len(found.lines) != len(proto.layer) + len(proto.layers):
        raise UserError(f"{path}: is no valid prototxt: the braces of its layers do not match")
    return proto, found


def _with_plain_backslashes(match: re.Match) -> str:
    """Double the backslashes of a string where they are no escapes, as in "D:\\Users\\lab"; other strings stay."""
    token = match[0]
    quote, body = token[:1], token[1:-1]
    if quote not in "\"'" or "\\" not in token or len(token) < 2 or not token.endswith(quote):
        return token
    try:
        text_encoding.CUnescape(body).decode("utf-8")
        is_path = bool(_ABSOLUTE.match(body)) and "\\\\" not in body[1:]
    except (ValueError, UnicodeDecodeError):
        is_path = True
    return quote + body.replace("\\", "\\\\") + quote if is_path else token


def _tokens(text: str) -> Iterator[tuple[str, int, re.Match]]:
    """Every token but comments and line ends: its text, its line from 1, its place."""
    line = 1
    for match in _TOKEN.finditer(text):
        if match.group() == "\n":
            line += 1
        elif not match.group().startswith("#"):
            yield match.group(), line, match


def _outline(path: Path, text: str) -> Outline:
    found, before = Outline(), ""
    stack, inner, in_value, key = [NetParameter.DESCRIPTOR], None, False, None
    for token, line, match in _tokens(text):
        if token in "{<":
            if before in ("[", ","):  # Caffe's files have none, and protobuf takes quadratic time to skip one
                raise UserError(f"{path}:{line}: is no valid prototxt: a list of messages")
            stack.append(inner)
            in_value = False
            if len(stack) > MAX_DEPTH:
                raise UserError(f"{path}:{line}: braces nest deeper than {MAX_DEPTH}")
        elif token in "}>":
            in_value = False
            if len(stack) > 1:  # one brace too many is for the parser to report
                stack.pop()
        elif token == ":":
            in_value = True
        elif in_value:
            if key and _is_other_value(key[0], token):
                found.other_values.append((f"{key[0].name}: {token}", key[1], match.end()))
            in_value = token in "[,"
        elif re.match(r"[A-Za-z_]", token):
            message, inner, key = stack[-1], None, None
            if message is None:
                before = token
                continue
            layer = len(found.lines) - 1 if len(stack) > 1 else None
            if len(stack) == 1 and token in ("layer", "layers"):
                found.lines.append(line)
            if token in message.fields_by_name:
                inner, key = message.fields_by_name[token].message_type, (message.fields_by_name[token], match.start())
            else:
                is_free = layer is None or token in HARMLESS or message.name in _TRAINING
                found.unknown.append(Unknown(token, line, layer, is_free))
        before = token
    return found


def _is_other_value(descriptor: FieldDescriptor, token: str) -> bool:
    """Whether `token` is a value that the schema's enumeration does not have, of one that changes no result."""
    enum = descriptor.enum_type
    is_word = re.match(r"[A-Za-z_\"']", token) is not None
    return bool(enum and is_word and enum.name in _FREE_ENUMS and token not in enum.values_by_name)
