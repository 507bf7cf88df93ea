"""Pictures to be judged, good ones and ones that are wrong in every way; the same every time."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont

SIDE = 1024
_BICUBIC = Image.Resampling.BICUBIC


def noise(side: int, seed: int, bands: int = 3) -> Image.Image:
    """Every value of every pixel by chance."""
    data = random.Random(seed).randbytes(side * side * bands)
    return Image.frombytes("RGB" if bands == 3 else "L", (side, side), data)


def gaussian(side: int, seed: int, spread: float = 60.0) -> Image.Image:
    """Normally distributed values around grey."""
    rolled = [noise(side, seed * 31 + n) for n in range(4)]
    mixed = Image.blend(
        Image.blend(rolled[0], rolled[1], 0.5), Image.blend(rolled[2], rolled[3], 0.5), 0.5
    )
    return mixed.point(lambda v: max(0, min(255, round(128 + (v - 128) * spread / 37))))


def octaves(side: int, seed: int, steepness: float = 0.62) -> Image.Image:
    """Structure of all sizes, the large the strongest: what photographs have in common."""
    found = Image.new("RGB", (side, side), (128, 128, 128))
    cells, share = 3, 0.9
    while cells < side:
        band = noise(cells, seed + cells).resize((side, side), _BICUBIC)
        found = Image.blend(found, band, share)
        cells, share = cells * 2, share * steepness
    return ImageEnhance.Contrast(found).enhance(1.6)


def landscape(seed: int = 1, side: int = SIDE) -> Image.Image:
    """A sky that darkens upwards, a bright tower, rocks."""
    sky = Image.linear_gradient("L").resize((side, side))
    found = Image.merge(
        "RGB", (sky, sky.point(lambda v: v * 0.9), sky.point(lambda v: v * 0.6 + 90))
    )
    rocks = octaves(side, seed).point(lambda v: max(0, v * 1.3 - 110))
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    roll = random.Random(seed)
    points = [(x * side // 12, side * (0.55 + 0.2 * roll.random())) for x in range(13)]
    draw.polygon([(0, side), *points, (side, side)], fill=255)
    found.paste(rocks, mask=mask.filter(ImageFilter.GaussianBlur(2)))
    draw = ImageDraw.Draw(found)
    x = side * (0.3 + 0.4 * roll.random())
    draw.rectangle((x, side * 0.2, x + side * 0.06, side * 0.7), fill=(230, 225, 215))
    draw.rectangle((x, side * 0.4, x + side * 0.06, side * 0.47), fill=(170, 30, 25))
    return grained(found, seed)


def shapes(seed: int = 2, side: int = SIDE) -> Image.Image:
    """Flat discs and boxes on a ground, as an illustration has them."""
    roll = random.Random(seed)
    found = Image.new("RGB", (side, side), (236, 228, 205))
    draw = ImageDraw.Draw(found)
    for _ in range(40):
        x, y, size = roll.random() * side, roll.random() * side, side * (0.05 + 0.2 * roll.random())
        fill = tuple(roll.randrange(256) for _ in range(3))
        kind = roll.choice((draw.ellipse, draw.rectangle))
        kind((x, y, x + size, y + size), fill=fill)
    return grained(found, seed)


def lettering(seed: int = 3, side: int = SIDE) -> Image.Image:
    """A poster with text on a gradient."""
    found = Image.radial_gradient("L").resize((side, side)).convert("RGB")
    found = ImageChops.multiply(found, Image.new("RGB", (side, side), (255, 160, 90)))
    draw = ImageDraw.Draw(found)
    font = ImageFont.load_default(side / 12)
    for line in range(9):
        draw.text((side * 0.06, side * (0.04 + line * 0.1)), "the quick brown fox", "white", font)
    return grained(found, seed)


def grained(picture: Image.Image, seed: int) -> Image.Image:
    """With a little noise, as decoded pictures have it."""
    return Image.blend(picture, noise(picture.width, seed + 99), 0.03)


def one_colour(value: int, side: int = SIDE) -> Image.Image:
    """One value everywhere; 0 is what NaN becomes."""
    return Image.new("RGB", (side, side), (value, value, value))


def blobs(cells: int, seed: int = 5, side: int = SIDE) -> Image.Image:
    """Noise in patches: latents that were never denoised, decoded."""
    rough = gaussian(cells, seed, 75).resize((side, side), _BICUBIC)
    return Image.blend(rough, noise(side, seed), 0.06)


def faded(picture: Image.Image, share: float) -> Image.Image:
    """So much of the contrast left."""
    grey = Image.new("RGB", picture.size, (128, 128, 128))
    return Image.blend(grey, picture, share)


def with_noise(picture: Image.Image, share: float) -> Image.Image:
    return Image.blend(picture, noise(picture.width, 17), share)


def half(picture: Image.Image) -> Image.Image:
    """The lower half black: tiles that came out as NaN."""
    found = picture.copy()
    found.paste((0, 0, 0), (0, picture.height * 45 // 100, picture.width, picture.height))
    return found


GOOD: dict[str, Callable[[], Image.Image]] = {
    "landscape": landscape,
    "another landscape": lambda: landscape(8),
    "small": lambda: landscape(4, 256),
    "wide": lambda: landscape(6).crop((0, 200, 1024, 776)),
    "structure of all sizes": lambda: octaves(SIDE, 7),
    "shapes": shapes,
    "lettering": lettering,
    "grey": lambda: landscape(9).convert("L").convert("RGB"),
    "dark": lambda: ImageEnhance.Brightness(landscape(10)).enhance(0.55),
}
BAD: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "black": (lambda: one_colour(0), "blank"),
    "grey all over": (lambda: one_colour(127), "blank"),
    "white": (lambda: one_colour(255), "blank"),
    "almost black": (lambda: ImageEnhance.Brightness(noise(SIDE, 1)).enhance(0.02), "blank"),
    "lower half black": (lambda: half(landscape()), "blank"),
    "noise": (lambda: noise(SIDE, 11), "noise"),
    "noise of a small picture": (lambda: noise(400, 12), "noise"),
    "normal noise": (lambda: gaussian(SIDE, 13), "noise"),
    "patches of 8": (lambda: blobs(128), "noise"),
    "patches of 16": (lambda: blobs(64), "noise"),
    "a picture below noise": (lambda: with_noise(landscape(), 0.85), "noise"),
    "a third of the contrast": (lambda: faded(landscape(), 0.3), "washed-out"),
    "a quarter of the contrast": (lambda: faded(shapes(), 0.25), "washed-out"),
}


def png(picture: Image.Image, path: Path) -> Path:
    picture.save(path)
    return path


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A small PNG that says it is huge, and would be."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    row = zlib.compress(b"\0" * 1_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def data_of(picture: Image.Image, form: str = "PNG") -> bytes:
    """The bytes of a file with the picture."""
    out = io.BytesIO()
    picture.save(out, form)
    return out.getvalue()
