"""What semsim asks of JAX: devices and the compilation cache, in processes of their own; what a user has set wins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import semsim
from semsim import backend
from semsim.backend import Cluster, join, meet, num_cores, prepare

SCRIPT = """
import collections, json, os
import jax
events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name.rpartition("/")[2]]))
from semsim import backend, ber
before = jax.config.jax_num_cpu_devices
backend.prepare()
ber("bpsk", "awgn", [0], max_bits=1)
folder = backend.compilation_cache()
print(json.dumps({"devices": jax.device_count(), "cores": backend.num_cores(), "folder": folder,
                  "because": backend.no_cache_because(),
                  "hits": events["cache_hits"], "misses": events["cache_misses"]}))
"""
CHOSEN = (
    "JAX_NUM_CPU_DEVICES",
    "XLA_FLAGS",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_ENABLE_COMPILATION_CACHE",
    "SEMSIM_DATA",
)


def fresh(folder: Path, **settings: str) -> dict:
    """What a process finds that has these settings, and none of ours."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    environment |= {"XDG_CACHE_HOME": str(folder), "PYTHONPATH": str(Path(semsim.__file__).parents[1])}
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_device_for_each_core_and_programs_that_the_next_process_finds(tmp_path):
    cold, warm = fresh(tmp_path), fresh(tmp_path)
    assert cold["devices"] == cold["cores"] == num_cores()
    assert Path(cold["folder"]).parent == tmp_path / "semsim" / "jax" and any(Path(cold["folder"]).iterdir())
    assert cold["misses"] > 0 and cold["hits"] == 0
    assert (warm["misses"], warm["hits"]) == (0, cold["misses"])


def test_the_users_settings_win(tmp_path):
    own = fresh(tmp_path, JAX_NUM_CPU_DEVICES="3", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert (
        own["devices"] == 3 and own["folder"] == str(tmp_path / "own") and not (tmp_path / "semsim").exists()
    )
    off = fresh(
        tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=5", JAX_ENABLE_COMPILATION_CACHE="false"
    )
    assert (off["devices"], off["folder"], off["hits"]) == (5, None, 0) and not (tmp_path / "semsim").exists()


def test_compiled_programs_lie_where_nobody_else_can_put_one(tmp_path):
    """They are code that will run, and the folder of data sets may be shared."""
    shared = tmp_path / "shared"
    shared.mkdir()
    found = fresh(tmp_path, SEMSIM_DATA=str(shared))
    folder = Path(found["folder"])
    assert folder.parent == tmp_path / "semsim" / "jax" and found["because"] is None
    assert folder.parent.stat().st_mode & 0o777 == 0o700 and list(shared.iterdir()) == []


@pytest.mark.parametrize("wrong", ["group", "others", "link", "owner", "file"])
def test_a_folder_that_others_could_have_filled_is_not_used(tmp_path, monkeypatch, wrong):
    folder = tmp_path / "semsim" / "jax"
    folder.parent.mkdir()
    if wrong == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif wrong == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod({"group": 0o770, "others": 0o707}.get(wrong, 0o700))
    if wrong == "owner":
        monkeypatch.setattr(backend.os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(backend, "_no_cache", None)
    assert backend._programs() is None
    assert str(folder) in backend.no_cache_because()


def test_a_folder_that_others_may_only_read_is_closed_and_used(tmp_path, monkeypatch):
    (tmp_path / "semsim" / "jax").mkdir(parents=True, mode=0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert backend._programs().parent == tmp_path / "semsim" / "jax"
    assert (tmp_path / "semsim" / "jax").stat().st_mode & 0o777 == 0o700


def test_too_late_is_harmless():
    devices = jax.devices()
    prepare()
    assert jax.devices() == devices
    join(Cluster())
    meet()  # nobody to wait for


@pytest.mark.parametrize(
    "values, message",
    [
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 0}, "go together, with distributed"),
        (
            {"distributed": True, "coordinator": "a:1"},
            "coordinator, num_processes and process_id go together",
        ),
        (
            {"distributed": True, "coordinator": "a:1", "num_processes": 2, "process_id": 2},
            r"process_id must be in \[0, 2\), the number of processes; got 2",
        ),
        (
            {"distributed": True, "coordinator": "a", "num_processes": 2, "process_id": 0},
            "coordinator must be host:port of process 0; got a",
        ),
    ],
)
def test_numbers_that_make_no_job_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Cluster(**values)
