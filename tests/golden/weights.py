"""Deterministic weights, images and labels for the golden cases: numpy only.

Every array depends on nothing but its name (or seed) and shape, so a golden
file needs to store only what the original program answered.
"""

import zlib

import numpy as np


def weight(name, shape):
    """float32 array of `shape` for the variable `name` (as the original program names it)."""
    rng = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    leaf = name.split("/")[-1]
    shape = tuple(int(s) for s in shape)
    if leaf in ("gamma", "moving_variance"):
        return (0.5 + rng.rand(*shape)).astype(np.float32)
    if leaf in ("beta", "biases", "bias", "b", "moving_mean"):
        return (0.1 * rng.randn(*shape)).astype(np.float32)
    if len(shape) == 4:
        fan_in = shape[0] * shape[1] * (1 if "depthwise" in leaf else shape[2])
    else:
        fan_in = max(1, int(np.prod(shape[:-1])))
    gain = 2.0 if leaf == "w" else 1.0
    if len(shape) == 4 and shape[2] == 3:  # the layer that reads the image
        gain /= 4096.0
    return (rng.randn(*shape) * np.sqrt(gain / fan_in)).astype(np.float32)


def image(seed, height, width, batch=1):
    """uint8 RGB [batch, height, width, 3] with low-frequency structure."""
    rng = np.random.RandomState(seed)
    grid = rng.randint(0, 256, (batch, 9, 11, 3)).astype(np.float32)
    ys, xs = np.linspace(0, 8, height), np.linspace(0, 10, width)
    y0 = np.floor(ys).astype(int).clip(0, 7)
    x0 = np.floor(xs).astype(int).clip(0, 9)
    fy = (ys - y0)[None, :, None, None]
    fx = (xs - x0)[None, None, :, None]
    nw, ne = grid[:, y0][:, :, x0], grid[:, y0][:, :, x0 + 1]
    sw, se = grid[:, y0 + 1][:, :, x0], grid[:, y0 + 1][:, :, x0 + 1]
    out = nw * (1 - fy) * (1 - fx) + ne * (1 - fy) * fx + sw * fy * (1 - fx) + se * fy * fx
    out += rng.randint(-20, 21, out.shape)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def label(seed, height, width, batch=1, classes=21, ignore=True):
    """uint8 class ids [batch, height, width, 1] in 16-pixel blocks; every 24th row is 255 if `ignore`."""
    rng = np.random.RandomState(seed + 7)
    rows, cols = -(-height // 16), -(-width // 16)
    blocks = rng.randint(0, classes, (batch, rows, cols, 1)).astype(np.uint8)
    out = np.repeat(np.repeat(blocks, 16, 1), 16, 2)[:, :height, :width]
    if ignore:
        out = out.copy()
        out[:, ::24] = 255
    return out
