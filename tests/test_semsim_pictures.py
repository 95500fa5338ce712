"""Picture files: the pixels that a viewer shows, or one line that says why there are none."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from semsim.data import pictures


def noise(height: int = 24, width: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


# --- orientation ------------------------------------------------------------------------------------------------------

TURNS = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x),
}
"""What EXIF 2.3, section 4.6.4, says of each value of the tag: where row 0 and column 0 of the file are to be seen."""


@pytest.mark.parametrize("tag", TURNS)
def test_a_camera_s_tag_turns_the_picture(tmp_path, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(noise()).save(tmp_path / "a.png", exif=exif)
    found = pictures.read(tmp_path / "a.png")
    np.testing.assert_array_equal(found.pixels, TURNS[tag](noise()))
    assert found.changes == ("turned as the camera's tag says",)


def test_an_upright_jpeg_is_what_pillow_decodes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(noise()).save(tmp_path / "a.jpg", exif=exif)
    found = pictures.read(tmp_path / "a.jpg")
    assert found.changes == ()
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(found.pixels, np.asarray(image))


# --- colour -----------------------------------------------------------------------------------------------------------

ADOBE = {
    "rXYZ": (0.60974, 0.31111, 0.01947),
    "gXYZ": (0.20528, 0.62567, 0.06087),
    "bXYZ": (0.14919, 0.06322, 0.74457),
}
"""Adobe RGB (1998), annex A of its specification: primaries seen from D50; its curve is a power of 563/256."""
SRGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""sRGB seen from D50, Lindbloom's table of RGB working spaces."""


def adobe_rgb() -> bytes:
    """An ICC profile of version 2, as ICC.1:2001 lays it out: header, table of tags, matrix and curves."""

    def fixed(values):
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    tags = {name: b"XYZ \0\0\0\0" + fixed(value) for name, value in ADOBE.items()}
    tags |= {"wtpt": b"XYZ \0\0\0\0" + fixed((0.9505, 1.0, 1.0891))}
    tags |= {name: struct.pack(">4sIIHxx", b"curv", 0, 1, 563) for name in ("rTRC", "gTRC", "bTRC")}
    text = b"Adobe-like\0"
    tags |= {"desc": struct.pack(">4sII", b"desc", 0, len(text)) + text + bytes(78 + (-len(text) % 4))}
    tags |= {"cprt": b"text\0\0\0\0none\0\0\0\0"}
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name.encode(), at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = at + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + fixed((0.9642, 1.0, 0.8249))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def test_a_colour_profile_becomes_srgb(tmp_path):
    """Against the two specifications in float64; colours that sRGB does not have are clipped to its edge."""
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=adobe_rgb())
    found = pictures.read(tmp_path / "a.png")
    assert found.changes == ("converted to sRGB",)
    linear = (pixels / 255) ** (563 / 256) @ np.array([*ADOBE.values()]) @ np.linalg.inv(SRGB_TO_XYZ).T
    linear = linear.clip(0, 1)
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(found.pixels, expected, atol=1.6)  # rounding, and 16 bits inside lcms
    assert np.abs(expected - pixels).max() > 30


def test_srgb_in_name_keeps_every_bit(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise()).save(tmp_path / "a.png", icc_profile=profile)
    found = pictures.read(tmp_path / "a.png")
    np.testing.assert_array_equal(found.pixels, noise())
    assert found.changes == ()


def test_a_grey_picture_in_a_profile_for_colours(tmp_path):
    """Grey stays grey whatever the primaries: only the curve changes."""
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=adobe_rgb())
    found = pictures.read(tmp_path / "a.png").pixels.astype(float)
    assert np.ptp(found, axis=-1).max() <= 1
    linear = (grey / 255.0) ** (563 / 256)
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(found[..., 1], expected, atol=1.6)


def test_a_profile_of_no_use_is_refused(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png", icc_profile=b"no profile")
    with pytest.raises(ValueError, match=r"colour profile is of no use .*: save it as sRGB"):
        pictures.read(tmp_path / "a.png")


# --- what a camera or a tool writes -----------------------------------------------------------------------------------


def test_of_an_mpo_file_the_first_picture(tmp_path):
    first, second = Image.fromarray(noise()), Image.new("RGB", (40, 24))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=100)
    with Image.open(tmp_path / "a.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
        expected = np.asarray(image)
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.jpg").pixels, expected)
    assert expected.std() > 20


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_an_animation_is_refused(tmp_path, kind):
    frames = [Image.fromarray(noise()), Image.new("RGB", (40, 24))]
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="an animation of 2 frames: save the one you mean"):
        pictures.read(tmp_path / f"a.{kind}")


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file of one scan of `rows`, as the specification lays it out."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_refused_in_grey_and_in_colour(tmp_path, colour, channels):
    rows = b"".join(b"\0" + bytes(2 * channels * 8) for _ in range(8))
    (tmp_path / "a.png").write_bytes(png(8, 8, 16, colour, rows))
    with pytest.raises(ValueError, match="16 bits a channel: save it with 8"):
        pictures.read(tmp_path / "a.png")


def test_one_rule_for_every_kind_of_pixels(tmp_path):
    """Grey, black and white, palette and opaque alpha become RGB; transparent pixels and CMYK are refused."""
    colour = Image.fromarray(noise())
    expected = {
        "L": np.repeat(np.asarray(colour.convert("L"))[..., None], 3, -1),
        "1": np.repeat(255 * np.asarray(colour.convert("1"))[..., None].astype(np.uint8), 3, -1),
        "P": np.asarray(colour.quantize(16).convert("RGB")),
        "RGBA": noise(),
    }
    files = {mode: colour.convert(mode) for mode in ("L", "1", "RGBA")} | {"P": colour.quantize(16)}
    for mode, image in files.items():
        image.save(tmp_path / f"{mode}.png")
        np.testing.assert_array_equal(pictures.read(tmp_path / f"{mode}.png").pixels, expected[mode])
    alpha = np.full((24, 40), 255, np.uint8)
    alpha[3, 5] = 254
    colour.putalpha(Image.fromarray(alpha))
    colour.save(tmp_path / "clear.png")
    with pytest.raises(ValueError, match="transparent pixels: flatten it"):
        pictures.read(tmp_path / "clear.png")
    Image.new("CMYK", (8, 8)).save(tmp_path / "print.jpg")
    with pytest.raises(ValueError, match="pixels of mode CMYK: save it as 8-bit RGB or grey"):
        pictures.read(tmp_path / "print.jpg")


def test_damage_is_one_line(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = io.BytesIO()
    Image.fromarray(noise()).save(whole, "JPEG", exif=exif)
    for length in range(2, len(whole.getvalue()) - 2, 37):
        (tmp_path / "a.jpg").write_bytes(whole.getvalue()[:length])
        with pytest.raises(ValueError, match="damaged or truncated|not a PNG, JPEG or WebP"):
            pictures.read(tmp_path / "a.jpg")


# --- bombs ------------------------------------------------------------------------------------------------------------


def test_a_picture_beyond_the_limit_is_refused_by_its_header(tmp_path):
    """9,400 x 9,400 pixels in 200 bytes, of which not one row is there: the reason is the size, so none was asked for."""
    (tmp_path / "a.png").write_bytes(png(9400, 9400, 8, 2, b""))
    with pytest.raises(ValueError, match=r"9,400 x 9,400 pixels: at most 50 million are read"):
        pictures.read(tmp_path / "a.png")


def test_pillow_s_own_limit_holds_too(tmp_path, monkeypatch):
    """From its limit on it warns, at twice the limit it refuses: both are refusals here."""
    Image.fromarray(noise()).save(tmp_path / "a.png")
    for limit in (900, 400):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"too large to open safely: .*960 pixels"):
            pictures.read(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 960)
    assert pictures.read(tmp_path / "a.png").pixels.shape == (24, 40, 3)


def test_a_jpeg_that_is_made_smaller_is_unpacked_smaller(tmp_path, monkeypatch):
    """640 x 800 for 64 x 64: an eighth has 80 rows, less than twice as many, so it is unpacked at a quarter."""
    monkeypatch.setattr(pictures, "MOST_PIXELS", 160 * 200)
    ramp = np.broadcast_to(np.linspace(0, 255, 800)[None, :, None], (640, 800, 3)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=95)
    with pytest.raises(ValueError, match="800 x 640 pixels: at most"):
        pictures.read(tmp_path / "a.jpg")
    found = pictures.read(tmp_path / "a.jpg", resize=(64, 64)).pixels
    expected = np.linspace(80, 720, 65) / 800 * 255
    np.testing.assert_allclose(
        found[:, 2:-2].mean(axis=(0, 2)), ((expected[1:] + expected[:-1]) / 2)[2:-2], atol=1.5
    )
    monkeypatch.setattr(pictures, "MOST_PIXELS", 160 * 200 - 1)
    with pytest.raises(ValueError, match="200 x 160 pixels: at most"):
        pictures.read(tmp_path / "a.jpg", resize=(64, 64))
