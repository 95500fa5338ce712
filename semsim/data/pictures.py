"""One picture file as the pixels that a viewer shows: 8-bit sRGB, upright, within a stated size.

What is not pixels of one still picture is refused with the reason: animations, transparency, more than 8 bits, CMYK. What
has one right meaning is given it: an orientation tag turns the picture, a colour profile becomes sRGB, an MPO file (which
many cameras write under the name of a JPEG) is its first picture.
"""

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
MOST_PIXELS = 50_000_000
"""Of a picture that is read; the header is asked before anything is unpacked. As pixels it then takes 150 MB."""


class Picture(NamedTuple):
    """pixels: of the picture. changes: what was done to those of the file, in words that can be counted."""

    pixels: UInt8[np.ndarray, "h w 3"]
    changes: tuple[str, ...]


def read(path: Path, resize: tuple[int, int] | None = None) -> Picture:
    """The picture in a file. resize: (height, width) that it is scaled to fill and cropped to, as `resized` does.

    Errors: ValueError that says what is wrong, without the name of the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if resize is not None:
                    # JPEG alone: unpacked at a half, a quarter or an eighth, still at twice what is asked for.
                    image.draft(None, (2 * max(resize), 2 * max(resize)))
                _check(image, path)
                return _pixels(image, resize)
    except Image.UnidentifiedImageError as error:
        raise ValueError("not a PNG, JPEG or WebP image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"too large to open safely: {error}") from error
    except (OSError, SyntaxError, EOFError, struct.error) as error:  # what Pillow's decoders raise for damage
        raise ValueError(f"damaged or truncated image: {error}") from error


def resized(pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "hh ww 3"]:
    """Scaled until it fills `size` (height, width), by Lanczos's filter, and cropped to it about its centre."""
    if pixels.shape[:2] == size:
        return pixels
    height, width = size
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (width, height), Image.Resampling.LANCZOS))


def _check(image: Image.Image, path: Path) -> None:
    """Errors: ValueError for what the header already shows to be of no use."""
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(
            f"{image.width:,} x {image.height:,} pixels: at most {MOST_PIXELS // 10**6} million are read; "
            "save it smaller"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ValueError(f"an animation of {frames} frames: save the one you mean")
    if image.mode.startswith("I") or (image.format == "PNG" and _png_depth(path) > 8):
        raise ValueError("16 bits a channel: save it with 8")
    if image.mode not in MODES:
        raise ValueError(f"pixels of mode {image.mode}: save it as 8-bit RGB or grey")


def _png_depth(path: Path) -> int:
    """Bits a channel. Pillow cuts 16-bit colours to 8 without a word, and does not say that it did."""
    with path.open("rb") as file:
        return file.read(25)[24]


def _pixels(image: Image.Image, resize: tuple[int, int] | None) -> Picture:
    changes = []
    profile = image.info.get("icc_profile")
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    if turned:
        ImageOps.exif_transpose(image, in_place=True)
        changes.append("turned as the camera's tag says")
    image = _opaque(image)
    if profile:
        converted = _to_srgb(image, profile)
        if converted is not image:
            image = converted
            changes.append("converted to sRGB")
    pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return Picture(pixels if resize is None else resized(pixels, resize), tuple(changes))


def _opaque(image: Image.Image) -> Image.Image:
    """RGB or grey. Errors: ValueError where something shines through."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise ValueError("transparent pixels: flatten it onto a background first")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The same colours in sRGB; the image itself where it is in it. Errors: ValueError for a profile of no use."""
    try:
        found: Any = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(found):
            return image
        if found.profile.xcolor_space.strip() == "RGB":
            image = image.convert("RGB")  # grey pixels may lie in a profile for colours
        srgb = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        converted = ImageCms.profileToProfile(image, found, srgb, intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(f"its colour profile is of no use ({error}): save it as sRGB") from error
    assert converted is not None  # it is None in place only
    return converted
