"""Who works on what: one owner at a time, the dead and the silent replaced, the living left alone."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from semsim import claims
from semsim.claims import Claims


def file_of(folder):
    (path,) = (path for path in (folder / "claims").iterdir() if len(path.name) == 20)
    return path


def left_behind(folder, text, age=0.0):
    """A claim on `w` that another process made: its file, with `text` in place of what it says."""
    with Claims(folder).hold("w") as ours:
        assert ours
        path = file_of(folder)
        found = path.read_text()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text(json.loads(found)) if callable(text) else text)
    os.utime(path, (time.time() - age,) * 2)
    return path


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_has_it_the_others_do_not_and_nothing_stays(tmp_path):
    with Claims(tmp_path).hold("w") as ours:
        with Claims(tmp_path).hold("w") as second, Claims(tmp_path).hold("v") as other:
            assert (ours, second, other) == (True, False, True)
        assert file_of(tmp_path).exists()  # the refused one took nothing away
    with Claims(tmp_path).hold("w") as again:
        assert again
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_everything_is_granted():
    alone = Claims(None)
    with alone.hold("w") as first, alone.hold("w") as second:
        alone.alive()
        assert first and second


def test_an_error_in_the_work_gives_it_back(tmp_path):
    with pytest.raises(RuntimeError), Claims(tmp_path).hold("w"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_hundred_threads_get_it_one_at_a_time(tmp_path):
    inside, most, done = [], [], []

    def work():
        mine = Claims(tmp_path)
        while True:
            with mine.hold("w") as ours:
                if ours:
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.0005)
                    inside.pop()
                    done.append(1)
                    return
            time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 100 and max(most) == 1 and list(tmp_path.iterdir()) == []


def test_a_dead_owner_on_this_machine_is_replaced_at_once(tmp_path):
    left_behind(tmp_path, lambda owner: json.dumps({**owner, "pid": dead_pid()}))
    with Claims(tmp_path).hold("w") as ours:
        assert ours and json.loads(file_of(tmp_path).read_text())["pid"] == os.getpid()


def test_a_number_that_came_again_is_not_its_owner(tmp_path):
    """A container that starts again: same host, same process number, another process."""
    left_behind(tmp_path, lambda owner: json.dumps({**owner, "started": "1"}))
    with Claims(tmp_path).hold("w") as ours:
        assert ours


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_zombie_is_dead(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = claims._started(process.pid)
    left_behind(tmp_path, lambda owner: json.dumps({**owner, "pid": process.pid, "started": started}))
    with Claims(tmp_path).hold("w") as ours:
        assert not ours
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not waited for
    with Claims(tmp_path).hold("w") as ours:
        assert ours
    process.wait()


def test_another_host_is_believed_until_it_is_silent(tmp_path):
    def elsewhere(owner):
        return json.dumps({**owner, "host": "elsewhere", "pid": 1})

    left_behind(tmp_path, elsewhere, age=50.0)
    with Claims(tmp_path, expiry=60.0).hold("w") as ours:
        assert not ours
    with Claims(tmp_path, expiry=40.0).hold("w") as ours:
        assert ours


@pytest.mark.parametrize("text", ["", '{"host": "a', "[]", '{"host": "a"}', "\0" * 30])
def test_a_claim_that_was_torn_is_waited_for_a_little_only(tmp_path, text):
    """The disk was full, or the owner killed, as it was being written."""
    left_behind(tmp_path, text, age=1.0)
    with Claims(tmp_path).hold("w") as ours:
        assert not ours  # it may be in the middle of writing it
    os.utime(file_of(tmp_path), (time.time() - 11.0,) * 2)
    with Claims(tmp_path).hold("w") as ours:
        assert ours


def test_signs_of_life_keep_a_claim(tmp_path):
    mine, other = Claims(tmp_path, expiry=0.4), Claims(tmp_path, expiry=0.4)
    with mine.hold("w"):
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            mine.alive()
            with other.hold("w") as ours:
                assert not ours
            time.sleep(0.01)
        time.sleep(0.6)  # and silence loses it
        with other.hold("w") as ours:
            assert ours


def test_one_that_wakes_up_leaves_the_claim_of_its_successor(tmp_path):
    sleeper, other, third = (Claims(tmp_path, expiry=60.0) for _ in range(3))
    successor = other.hold("w")
    with sleeper.hold("w"):
        os.utime(file_of(tmp_path), (1e9, 1e9))
        assert successor.__enter__()
    with third.hold("w") as ours:
        assert not ours
    successor.__exit__(None, None, None)
    with third.hold("w") as ours:
        assert ours


def test_of_two_that_replace_a_dead_owner_one_has_the_work(tmp_path, monkeypatch):
    """The second has seen that the owner is dead, and is slow: meanwhile the first has replaced it."""
    left_behind(tmp_path, lambda owner: json.dumps({**owner, "pid": dead_pid()}))
    slow, fast, got = Claims(tmp_path), Claims(tmp_path), []
    first = fast.hold("w")
    judge = Claims._abandoned

    def interrupted(self, path):
        found = judge(self, path)
        if self is slow and not got:
            got.append(first.__enter__())
        return found

    monkeypatch.setattr(Claims, "_abandoned", interrupted)
    with slow.hold("w") as ours:
        assert got == [True] and not ours
    with Claims(tmp_path).hold("w") as third:
        assert not third
    first.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_goes_away_while_it_is_judged_is_free(tmp_path, monkeypatch):
    first = Claims(tmp_path).hold("w")
    first.__enter__()
    judge, gone = Claims._abandoned, []

    def interrupted(self, path):
        if not gone:
            gone.append(first.__exit__(None, None, None))
        return judge(self, path)

    monkeypatch.setattr(Claims, "_abandoned", interrupted)
    with Claims(tmp_path).hold("w") as ours:
        assert ours


def test_a_claim_says_whose_it_is(tmp_path):
    with Claims(tmp_path).hold("w"):
        owner = json.loads(file_of(tmp_path).read_text())
        assert (owner["host"], owner["pid"]) == (socket.gethostname(), os.getpid())
