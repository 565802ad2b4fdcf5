"""Ways to damage a file and to write a hostile argument; all of them drawn from a generator."""

import json
import random
from typing import Any

HOSTILE = (
    "", " ", "0", "-1", "nan", "inf", "-inf", "1e309", "9" * 400, "99999999999", "1e-320", "true", "null", "none", "[",
    "{}", "[" * 2000, "a,b,,", "1,2,3,4,5,6,7", "é̂漢字🙂", "\u202eabc", "\x1b[31mred", "a\nb", "a\tb", "x" * 300,
    "x/" * 300, "nowhere", ".", "file", "folder", "folder/*", "[ab]?*", "$HOME", "~", "-",
    "--", "--nosuch", "key=value", "num_steps=-1", "eval_size=1000000000", "crop_size=nan", "variant=../../x", "%s%n",
    "a\udcffb", "learning_rate=1e400", "dataset=folder", "class_weights=[" + "1," * 3000 + "1]",
)  # fmt: skip

VALUES = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, -1.5, 1e308, float("nan"), float("inf"), "", "x" * 5000, "é漢🙂",
    "\x1b[31m", "../../outside", "/etc/passwd", "a\nb", [], {}, [[]], [None], {"a": 1}, ["x"] * 2000,
)  # fmt: skip


OUTSIDE = ("../../outside", "/nowhere/at/all", "..\\outside")  # in files only: a person's --out may lie anywhere


def hostile(rng: random.Random) -> str:
    """An argument that nobody expects; none that leads out of the folder."""
    return rng.choice(HOSTILE)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content of a file after one to three mutations, of its bytes, its words or, where it is JSON, its values."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        ways = [_bits, _cut, _block, _junk, _words, _marks]
        if content[:1] in (b"{", b"["):
            ways += [_json, _json, _json, _json]
        content = rng.choice(ways)(content, rng)
    return content


def _bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 4, 32)) if changed else 0):
        changed[rng.randrange(len(changed))] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _block(content: bytes, rng: random.Random) -> bytes:
    """A stretch that is doubled, lost or moved."""
    start, size, to = (rng.randrange(len(content) + 1), rng.choice((1, 8, 64, 1000)), rng.randrange(len(content) + 1))
    stretch, rest = content[start : start + size], content[:start] + content[start + size :]
    return rng.choice((rest, content[:to] + stretch + content[to:], rest[:to] + stretch + rest[to:]))


def _junk(content: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b"\0" * 64, rng.randbytes(200), b"[" * 20_000, b"\xff\xfe" + content, content * 3))


def _words(content: bytes, rng: random.Random) -> bytes:
    """A number or word that becomes a hostile one."""
    words = content.split(b" ")
    if len(words) > 1:
        words[rng.randrange(len(words))] = rng.choice(HOSTILE + OUTSIDE).encode("utf-8", "surrogateescape")
    return b" ".join(words)


def _marks(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("latin-1")
    return rng.choice((b"\xef\xbb\xbf" + content, text.encode("utf-16"), text.encode("utf-8"), content.swapcase()))


def _json(content: bytes, rng: random.Random) -> bytes:
    """One value of a JSON text that becomes another, is lost or comes again."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        holder = waiting.pop()
        inside = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in inside:
            places.append((holder, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    if not places:
        return content
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    elif isinstance(holder, dict) and rng.random() < 0.1:
        holder[hostile(rng)] = holder.pop(key)
    else:
        holder[key] = rng.choice(VALUES)
    return json.dumps(data).encode()
