"""`semsim train fssc`: who gets what, one table of three trainings at equal passes, and the device's encoder."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from models.swin import CIFAR, SwinConfig
from semsim import federated
from semsim.checkpoint import named_arrays
from semsim.federated import FederatedOptions, rounds_to, split_clients, train_fssc
from semsim.systems import fssc
from semsim.techniques.federation import Round

NET = SwinConfig((8,), (1,), (2,), 2, channels=4, linear_path=True, height=8, width=8)
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = np.arange(40, dtype=np.uint8) % 2
OPTIONS = FederatedOptions(clients=2, rounds=2, local_batch=10, local_rate=1e-3)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(fssc, "SYSTEM", replace(fssc.SYSTEM, sizes=(("tiny", NET),)))
    monkeypatch.setattr(federated.data_sets, "training_images", lambda name, side: IMAGES)
    monkeypatch.setattr(federated.data_sets, "validation_images", lambda name, side: IMAGES[::4])
    monkeypatch.setattr(federated.data_sets, "training_labels", lambda name: LABELS)


def split(options, seed=0):
    return split_clients(options, IMAGES, lambda: LABELS, seed)


def test_every_image_has_one_owner():
    expected = sorted(image.tobytes() for image in IMAGES)
    for kind in ("iid", "dirichlet:5", "quantity:3", "snr-skew"):
        clients = split(replace(OPTIONS, clients=3, split=kind))
        assert len(clients) == 3 and len({client.seed for client in clients}) == 3
        assert sorted(image.tobytes() for client in clients for image in client.images) == expected


def test_skewed_clients_share_the_scale_of_snr_and_the_others_have_one():
    clients = split(replace(OPTIONS, clients=4, split="snr-skew"))
    np.testing.assert_allclose([client.setting for client in clients], [(0, 5), (5, 10), (10, 15), (15, 20)])
    np.testing.assert_allclose(federated._everybody(clients, 0).setting, (0, 20))
    clients = split(replace(OPTIONS, train_esno_db=7.0))
    np.testing.assert_allclose([client.setting for client in clients], [(7, 7), (7, 7)])
    assert len(federated._everybody(clients, 0).images) == len(IMAGES)


def test_rounds_to_a_share_of_the_end():
    def done(number, value):
        return Round(number, 0, (), (), (), 0, 0, 0, {} if value is None else {"psnr": value})

    history = [done(1, 10.0), done(2, None), done(3, 19.0), done(4, 18.0), done(5, 20.0)]
    assert rounds_to(history) == 3 and rounds_to(history, 0.5) == 1 and rounds_to(history, 1.0) == 5


@pytest.mark.slow
def test_three_trainings_of_equal_passes_and_what_they_exchanged(tmp_path):
    lines: list[dict] = []
    options = replace(OPTIONS, bits=8, uplink="qpsk:1/2:8", test_esno_db=("5", "15"))
    rows = {row.training: row for row in train_fssc(options, "x", tmp_path / "run", report=lines.append)}
    assert list(rows) == ["federated", "local", "centralised"]
    assert {row.passes for row in rows.values()} == {2 * len(IMAGES)}
    size = sum(array.size for array in named_arrays(fssc.SYSTEM.fresh()).values())
    parts = len(named_arrays(fssc.SYSTEM.fresh()))
    of_federation = rows["federated"]
    assert of_federation.up_megabytes == pytest.approx(2 * 2 * (size + 4 * parts) / 1e6)
    assert of_federation.down_megabytes == pytest.approx(2 * 2 * 4 * size / 1e6)
    assert of_federation.uplink_uses == 2 * 2 * options.link().channel_uses(size + 4 * parts, 8) > 0
    for name in ("local", "centralised"):
        assert (rows[name].up_megabytes, rows[name].down_megabytes, rows[name].uplink_uses) == (0, 0, 0)
    assert rows["local"].rounds_95 is None and of_federation.rounds_95 in (1, 2)

    written = json.loads((tmp_path / "run" / "table.json").read_text())
    assert written == [row._asdict() for row in rows.values()]
    rounds = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert [(line["training"], line["number"]) for line in rounds] == [(n, k) for n in rows for k in (1, 2)]
    assert len(lines) == 6

    evaluate = fssc.scorer(IMAGES[::4], (5.0, 15.0))
    for name, row in rows.items():
        codec = fssc.SYSTEM.load(tmp_path / "run" / f"{name}.safetensors")
        if name != "local":  # whose file holds one client's
            assert evaluate(codec)["psnr"] == pytest.approx(row.psnr, abs=1e-4)
    with pytest.raises(ValueError, match="already holds a training"):
        train_fssc(options, "x", tmp_path / "run")


@pytest.mark.slow
def test_a_devices_encoder_learns_before_a_decoder_that_stays(tmp_path):
    options = replace(OPTIONS, rounds=1, against=("none",), device=4, local_rate=0.05)
    (row,) = train_fssc(options, "x", tmp_path / "run")
    assert row.training == "federated"
    ways = json.loads((tmp_path / "run" / "device.json").read_text())
    assert [way["device encoder"] for way in ways] == [
        "fresh", "fresh-distilled", "sliced", "sliced-distilled",
    ]  # fmt: skip
    assert ways[0]["psnr at start"] == ways[1]["psnr at start"] != ways[2]["psnr at start"]
    assert len({way["psnr"] for way in ways}) == 4
    encoder = named_arrays(fssc.build(fssc.device(NET)).encoder)
    assert {way["parameters"] for way in ways} == {sum(array.size for array in encoder.values())}
    assert {way["bytes"] for way in ways} == {4 * ways[0]["parameters"]}
    common = named_arrays(fssc.SYSTEM.load(tmp_path / "run" / "federated.safetensors"))
    kept = load_file(tmp_path / "run" / "device" / "sliced" / "weights.safetensors")
    for name, array in common.items():
        np.testing.assert_array_equal(kept[f"teacher.{name}"], array)
        if name.startswith("decoder."):
            np.testing.assert_array_equal(kept[f"device.{name}"], array)


def test_a_device_has_whole_heads_of_the_common_encoder():
    found = fssc.device(CIFAR)
    assert found.widths == (64, 128) and found.heads == (CIFAR.heads[0] // 2, CIFAR.heads[1] // 2)
    small = jax.eval_shape(lambda: nnx.state(fssc.build(fssc.device(fssc.OURS)).encoder))
    assert sum(leaf.size for leaf in jax.tree.leaves(small)) * 4 < 50_000  # the survey's 0.05 MB
    with pytest.raises(ValueError, match="must be even"):
        fssc.device(replace(NET, heads=(1,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clients": 0}, "clients must be at least 1; got 0"),
        ({"clients": 5}, "client 0 has 8 images, less than a batch of 10"),
        ({"images": 5}, "client 0 has 3 images"),
        ({"split": "dirichlet:0.01", "clients": 4}, "without images|less than a batch"),
        ({"split": "dirichlet"}, "unknown split 'dirichlet'"),
        ({"split": "iid:3"}, "unknown split 'iid:3'"),
        ({"split": "dirichlet:many"}, "has a number behind its colon"),
        ({"split": "dirichlet:-1"}, "must be positive"),
        ({"against": ("global",)}, "local, centralised or none; got 'global'"),
        ({"aggregate": "sum"}, "unknown aggregate"),
        ({"rounds": 0}, "at least 1"),
        ({"bits": 1}, "bits must be 2 to 16 .*; got 1"),
        ({"uplink": "qpsk:1/2:5"}, "give their bits"),
        ({"uplink": "qpsk", "bits": 8}, "MODULATION:CODERATE:ESNO_DB"),
        ({"heavy_every": 0}, "at least 1"),
        ({"test_esno_db": ("ten",)}, "test_esno_db"),
        ({"device": -1}, "device"),
    ],
)
def test_refusals_come_before_anything_is_written(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_fssc(replace(OPTIONS, **changes), "x", tmp_path / "run")
    assert not (tmp_path / "run").exists()
