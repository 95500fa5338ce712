"""Source codecs: the complete file comes back bit for bit, every byte on air is counted, no better quality fits."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semsim import containers, data, picture_formats, video_formats
from semsim.codecs import CODECS, Fitter, SourceCodec, codec, fit

PILLOW = ("jpeg", "webp", "avif")
LAYOUTS = [(name, chroma) for name in PILLOW for chroma in codec(name).subsamplings]


def photograph() -> np.ndarray:
    with Image.open(Path(data.__file__).parent / "embedded" / "demo_cc0_8x256.png") as strip:
        return np.asarray(strip.convert("RGB"))[:256, :256]


def patches(count: int) -> np.ndarray:
    return data.load("embedded", limit=count).images


def written(name: str, image: np.ndarray, quality: int, chroma: str, **more: object) -> bytes:
    """The complete file, by Pillow and nothing of ours."""
    settings = {
        "jpeg": {"subsampling": chroma},
        "webp": {"method": 6},
        "avif": {
            "subsampling": chroma,
            "codec": "aom",
            "speed": 4,
            "advanced": {"tune": "psnr"},
            "max_threads": 1,
        },
    }
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, name.upper(), quality=quality, **settings[name], **more)
    return stream.getvalue()


def pixels(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("RGB"))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return 10 * np.log10(255**2 / error) if error else np.inf


# --- bytes out, bytes in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "chroma"), LAYOUTS)
@pytest.mark.parametrize("size", [(32, 32), (37, 21), (1, 1), (3, 200), (256, 256)], ids=str)
def test_receiver_rebuilds_the_complete_file_and_zeros_behind_change_nothing(name, chroma, size):
    image = photograph()[: size[0], : size[1]]
    coder = codec(name)
    step = 60 if size == (256, 256) else 29
    for quality in coder.qualities[1::step]:
        payload = coder.encode(image, quality, chroma)
        files = [written(name, image, quality, chroma)]
        if name == "jpeg":
            files.append(written(name, image, quality, chroma, optimize=True))
        containers.blank_file.cache_clear()  # nothing of the sender is left
        assert coder.restore(payload, size) in files
        received = coder.decode(payload, size)
        np.testing.assert_array_equal(received, pixels(files[0]))
        assert received.dtype == np.uint8 and received.shape == (*size, 3)
        for zeros in (1, 2, 255):
            np.testing.assert_array_equal(coder.decode(payload + bytes(zeros), size), received)


@pytest.mark.parametrize("quality", [1, 30, 90])
def test_jpeg_pays_for_its_scan_and_one_byte(quality):
    image = patches(1)[0]
    file = written("jpeg", image, quality, "4:4:4")
    start = file.index(b"\xff\xda")
    scan = file[start + 2 + int.from_bytes(file[start + 2 : start + 4], "big") : -2]
    assert len(codec("jpeg").encode(image, quality, "4:4:4")) == 1 + len(scan) - scan.count(b"\xff\x00")


def test_jpeg_sends_own_huffman_tables_when_that_is_smaller():
    image = photograph()
    standard, own = (written("jpeg", image, 20, "4:2:0", optimize=optimise) for optimise in (False, True))
    payload = codec("jpeg").encode(image, 20)
    assert codec("jpeg").restore(payload, (256, 256)) == own
    at, tables, scan = own.index(b"\xff\xc4"), 0, own[own.index(b"\xff\xda") + 14 : -2]
    while own[at + 1] == 0xC4:
        length = int.from_bytes(own[at + 2 : at + 4], "big")
        tables, at = (
            tables + length - 3,
            at + 2 + length,
        )  # less the length field and the byte that names the table
    assert len(payload) == 2 + tables + len(scan) - scan.count(b"\xff\x00")
    scan = standard[standard.index(b"\xff\xda") + 14 : -2]
    assert len(payload) < 1 + len(scan) - scan.count(b"\xff\x00")


@pytest.mark.parametrize(("side", "quality", "tag"), [(32, 0, 1), (32, 90, 2), (256, 100, 2), (512, 100, 3)])
def test_webp_pays_for_its_partitions_and_the_size_of_the_first(side, quality, tag):
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    image = noise if side == 512 else photograph()[:side, :side]
    file = written("webp", image, quality, "4:2:0")
    first = int.from_bytes(file[20:23], "little") >> 5
    assert tag == 1 + (first >= 32) + (first >= 4096)
    partitions = len(file) - 30 - (len(file) % 2 == 0 and file[-1] == 0)
    assert len(codec("webp").encode(image, quality)) == tag + partitions


@pytest.mark.parametrize("quality", [0, 60])
def test_avif_pays_for_its_frame_and_one_byte(quality):
    image = patches(1)[0]
    file = written("avif", image, quality, "4:4:4")
    item = file[file.index(b"mdat") + 4 :]
    assert item[:2] == b"\x12\x00" and item[2] == 0x0A  # temporal delimiter, sequence header
    frame = item[4 + item[3] :]
    length_bytes = 1 if frame[1] < 0x80 else 2
    assert frame[0] == 0x32 and len(frame) > 1 + length_bytes
    payload = codec("avif").encode(image, quality, "4:4:4")
    assert len(payload) == 1 + len(frame) - 1 - length_bytes
    assert codec("avif").restore(payload + bytes(99), (32, 32)) == file  # the length is not lost


def test_avif_has_each_quantiser_of_libaom_once():
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    every = [written("avif", noise, quality, "4:4:4") for quality in range(101)]
    lowest = tuple(q for q in range(101) if q == 0 or every[q] != every[q - 1])
    assert codec("avif").qualities == lowest and len(lowest) == 64


class Shifted(picture_formats.Webp):
    """A writer whose files are not what `pack` takes them for: something before the first chunk."""

    def files(self, image, quality, subsampling):
        (file,) = super().files(image, quality, subsampling)
        chunk = b"WEBPXTRA" + (2).to_bytes(4, "little") + b"??" + file[12:]
        return (b"RIFF" + len(chunk).to_bytes(4, "little") + chunk,)


def test_file_of_unknown_layout_is_sent_complete_and_counted():
    form = Shifted()
    image = patches(1)[0]
    (file,) = form.files(image, 50, "4:2:0")
    payload = SourceCodec("shifted", form).encode(image, 50)
    assert len(payload) == len(file) + 5 and payload[0] == containers.COMPLETE
    assert SourceCodec("shifted", form).restore(payload + bytes(7), (32, 32)) == file


# --- the best that fits -----------------------------------------------------------------------------------------------


def exhaustive(coder: SourceCodec, image: np.ndarray, budgets: tuple[int, ...]) -> list[float]:
    """Highest PSNR of every setting that fits, float64; minus infinity where none does."""
    tried = []
    for chroma in coder.subsamplings:
        for quality in coder.qualities:
            payload = coder.encode(image, quality, chroma)
            tried.append((len(payload), psnr(coder.decode(payload, image.shape[:2]), image)))
    return [max((value for size, value in tried if size <= budget), default=-np.inf) for budget in budgets]


@pytest.mark.parametrize(("name", "count"), [("jpeg", 4), ("webp", 4), ("avif", 1)])
def test_no_setting_that_fits_is_better(name, count):
    budgets = (24, 40, 64, 90, 128, 200, 333, 5000)
    images = patches(8)[-count:]
    coder = codec(name)
    for image in images:
        fitter = Fitter(coder, image)
        fitted = [fitter.best(budget) for budget in budgets]
        best = exhaustive(coder, image, budgets)
        for budget, value, found in zip(budgets, best, fitted, strict=True):
            if found is None:
                assert value == -np.inf
                continue
            assert len(found.data) <= budget
            assert psnr(found.image, image) == pytest.approx(value, abs=1e-9)
            assert found.data == coder.encode(image, found.quality, found.subsampling)
            np.testing.assert_array_equal(found.image, coder.decode(found.data, (32, 32)))
        assert fitted[-1] is not None


@pytest.mark.parametrize("name", PILLOW)
def test_smallest_setting_decides_whether_an_image_fits_at_all(name):
    image = patches(2)[1]
    coder = codec(name)
    smallest = min(len(coder.encode(image, q, c)) for q in coder.qualities[:6] for c in coder.subsamplings)
    assert fit(coder, image, smallest - 1) is None and fit(coder, image, 0) is None
    found = fit(coder, image, smallest)
    assert found is not None and len(found.data) == smallest


class Rough(containers.Format):
    """Sizes and errors that rise and fall with quality but for bumps: the search, without any image format."""

    qualities = tuple(range(10, 90))
    subsamplings = ("grey",)

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        steps = np.arange(80)
        # Bumps as high as two steps of the trend: at most four in a row stand on the wrong side.
        self.size = (20 * 1.04**steps * np.exp(0.08 * rng.uniform(-1, 1, 80))).astype(int) + 3
        self.error = (250 * 0.96**steps * np.exp(0.08 * rng.uniform(-1, 1, 80))).astype(int).clip(0, 255)
        self.written = 0

    @property
    def note(self):
        return "rough"

    def files(self, image, quality, subsampling):
        self.written += 1
        return (bytes((quality,)) * self.size[quality - 10],)

    def pack(self, file, size, quality, subsampling):
        return file

    def unpack(self, data, size):
        return data

    def read(self, file, size):
        return np.full((*size, 3), self.error[file[0] - 10], np.uint8)


def test_search_finds_the_best_of_rough_curves_in_a_fraction_of_the_trials():
    black = np.zeros((1, 1, 3), np.uint8)
    written_in_all = 0
    for seed in range(60):
        form = Rough(seed)
        budget = int(np.random.default_rng(seed).integers(form.size.min(), 600))
        least = form.error[form.size <= budget].min()
        form.written = 0
        found = fit(SourceCodec("rough", form), black, budget)
        assert found is not None and found.image[0, 0, 0] == least
        written_in_all += form.written
    assert written_in_all / 60 < 20  # of 80


def test_budgets_share_what_was_tried_and_find_what_each_finds_alone():
    black = np.zeros((1, 1, 3), np.uint8)
    form = Rough(3)
    alone = [fit(SourceCodec("rough", form), black, budget) for budget in (100, 40, 300, 100)]
    first, form.written = form.written, 0
    fitter = Fitter(SourceCodec("rough", form), black)
    together = [fitter.best(budget) for budget in (100, 40, 300, 100)]
    assert [one.data for one in together] == [one.data for one in alone]
    assert form.written < first


# --- mistakes and damage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PILLOW)
def test_damaged_bytes_are_a_value_error_or_an_image_of_the_known_size(name):
    coder, size = codec(name), (37, 21)
    image = photograph()[:37, :21]
    payload = coder.encode(image, coder.qualities[20])
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(90):
        damaged = bytearray(payload)
        for at in rng.integers(0, len(payload), 1 + trial % 5):
            damaged[at] = rng.integers(0, 256)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(0, len(payload))]
        if trial % 10 == 0:
            damaged[:1] = b"\xff"
        try:
            assert coder.decode(bytes(damaged), size).shape == (37, 21, 3)
        except ValueError as error:
            assert f"bytes are no {name} image of 37x21" in str(error)
            refused += 1
    assert refused >= 9  # at least those that claim to be complete files


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize("payload", [b"", b"\xfe", b"\x00", b"\xff\x00\x00\x00\x03abc", bytes(64)], ids=repr)
def test_bytes_that_mean_nothing_are_refused(name, payload):
    if name == "jpeg" and payload == bytes(64):
        pytest.skip("64 zeros are a JPEG scan of zeros: the format cannot tell")
    with pytest.raises(ValueError, match=rf"these {len(payload)} bytes are no {name} image of 32x32"):
        codec(name).decode(payload, (32, 32))


def test_avif_cut_short_is_refused():
    image = photograph()
    payload = codec("avif").encode(image, 60)
    with pytest.raises(ValueError, match="are no avif image of 256x256"):
        codec("avif").decode(payload[: len(payload) // 2], (256, 256))


def test_complete_file_of_another_size_is_refused():
    file = written("jpeg", patches(1)[0], 50, "4:2:0")
    payload = b"\xff" + len(file).to_bytes(4, "big") + file
    assert codec("jpeg").decode(payload, (32, 32)).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="no jpeg image of 64x64: a picture of 32x32"):
        codec("jpeg").decode(payload, (64, 64))


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((8, 8, 3), np.float32), r"float32 \[8, 8, 3\]"),
        (np.zeros((8, 8), np.uint8), r"uint8 \[8, 8\]"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 \[8, 8, 4\]"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \[0, 8, 3\]"),
    ],
)
def test_what_is_no_image_is_refused(image, got):
    with pytest.raises(ValueError, match=rf"one uint8 image \[height, width, 3\]; got {got}"):
        codec("jpeg").encode(image, 50)
    with pytest.raises(ValueError, match="one uint8 image"):
        fit(codec("jpeg"), image, 50)


def test_mistakes_say_what_would_do(monkeypatch, tmp_path):
    image = patches(1)[0]
    with pytest.raises(
        ValueError, match=r"unknown codec 'jpg'; did you mean jpeg\? Choices: jpeg, webp, avif, bpg"
    ):
        codec("jpg")
    with pytest.raises(ValueError, match="jpeg has qualities 1 to 100; got 0"):
        codec("jpeg").encode(image, 0)
    with pytest.raises(ValueError, match=r"webp has chroma 4:2:0; got '4:4:4'"):
        codec("webp").encode(image, 50, "4:4:4")
    with pytest.raises(ValueError, match="webp cannot encode an image of 1x16384"):
        codec("webp").encode(np.zeros((1, 16384, 3), np.uint8), 50)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ValueError, match="bpg needs bpgenc and bpgdec on the PATH: install libbpg, or choose one of jpeg"
    ):
        codec("bpg")
    monkeypatch.setattr("semsim.codecs.features.check", lambda feature: False)
    with pytest.raises(ValueError, match="this Pillow was built without avif"):
        codec("avif")


@pytest.mark.parametrize("name", PILLOW)
def test_note_names_encoder_and_version(name):
    library = {"jpeg": "libjpeg", "webp": "libwebp", "avif": "libavif"}[name]
    assert library in codec(name).note and any(character.isdigit() for character in codec(name).note)
    assert "None" not in codec(name).note


# --- BPG --------------------------------------------------------------------------------------------------------------

# Stands for bpgenc and bpgdec in the tests only: header and end of a BPG file as its format has them, a PNG in between.
ENCODER = r"""#!/bin/sh
[ "$1" = -q ] && [ "$3" = -f ] && [ "$5" = -o ] || { echo "usage" >&2; exit 2; }
{ printf 'BPG\373\040\000\040\040\000'; printf '%s,' "$2"; printf '%s,' "$4"; cat "$7"; } > "$6"
"""
DECODER = r"""#!/bin/sh
head -c 4 "$3" | grep -q BPG || { echo "not a BPG image" >&2; exit 1; }
tail -c +17 "$3" > "$2"
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    for name, script in (("bpgenc", ENCODER), ("bpgdec", DECODER)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    containers.blank_file.cache_clear()
    yield tmp_path
    containers.blank_file.cache_clear()


@pytest.mark.skipif(os.name == "nt", reason="shell scripts stand in for the programs")
def test_bpg_runs_its_programs_and_sends_what_differs_from_a_blank_picture(stand_in, monkeypatch):
    image = patches(1)[0]
    coder = codec("bpg")
    (file,) = coder.form.files(image, 21, "4:4:4")
    assert file[9:16] == b"30,444,"
    payload = coder.encode(image, 21, "4:4:4")
    # The blank picture has quantiser 51: nine bytes of header are shared, and one byte says so.
    assert payload == bytes((2 * 9 + 1,)) + file[9:]
    assert coder.restore(payload, (32, 32)) == coder.restore(payload + bytes(9), (32, 32)) == file
    np.testing.assert_array_equal(coder.decode(payload + bytes(9), (32, 32)), image)
    with pytest.raises(
        ValueError, match="no bpg image of 32x32: bpgdec stopped with code 1: not a BPG image"
    ):
        coder.decode(b"\x01garbage", (32, 32))
    huge = b"BPG\xfb\x20\x00" + b"\x81\x00" + b"\x84\x80\x00"  # 128 wide, 65,536 high
    with pytest.raises(ValueError, match="no bpg image of 32x32: a picture of 65536x128"):
        coder.decode(b"\x01" + huge + b"pixels", (32, 32))  # which bpgdec has not seen
    (stand_in / "bpgenc").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(ValueError, match="bpgenc stopped with code 3: no word"):
        coder.encode(image, 20)
    monkeypatch.setattr(video_formats, "PATIENCE", 0.05)
    (stand_in / "bpgenc").write_text("#!/bin/sh\nexec sleep 10\n")
    with pytest.raises(ValueError, match=r"bpgenc did not end within 0\.05 s"):
        coder.encode(image, 20)


@pytest.mark.skipif(
    not (shutil.which("bpgenc") and shutil.which("bpgdec")), reason="bpgenc is not on the PATH"
)
def test_bpg_round_trip_with_the_real_programs():
    image = photograph()
    coder = codec("bpg")
    for chroma in coder.subsamplings:
        small, large = (coder.encode(image, quality, chroma) for quality in (5, 40))
        assert small[0] != containers.COMPLETE and 16 < len(small) < len(large)
        assert psnr(coder.decode(large + bytes(5), (256, 256)), image) > 35


def test_every_codec_is_offered_under_its_own_name():
    assert CODECS == ("jpeg", "webp", "avif", "bpg")
    magic = {"jpeg": b"\xff\xd8", "webp": b"RIFF", "avif": b"\x00\x00\x00\x20ftypavif"}
    for name in PILLOW:
        file = codec(name).restore(codec(name).encode(patches(1)[0], 50 if name != "avif" else 51), (32, 32))
        assert file.startswith(magic[name])
