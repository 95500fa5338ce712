"""A command that ends when it is asked to, whatever it is doing: real signals to real processes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import semsim
from semsim import signals
from semsim.signals import asked_to_stop, ending_in_time

STUCK = """
import signal, time
from semsim import signals
signals.PATIENCE = {patience}
def stuck():
    for number in signals.SIGNALS:  # heard by nobody, as in the middle of a compilation
        signal.signal(number, lambda *_: None)
    print("begun", flush=True)
    while True:
        time.sleep(60)
with signals.ending_in_time():
    {body}
"""


HUNG = 120
"""Seconds after which a process that should have ended is killed, and its test fails: a broken line must not hold up all."""


def start(code):
    path = str(Path(semsim.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, *numbers):
    """Status and last words of a process that gets these signals once it has begun."""
    assert process.stdout.readline() == "begun\n"
    for number in numbers:
        process.send_signal(number)
    return last_words(process)


def last_words(process):
    """Status and what it said on stderr."""
    try:
        _, said = process.communicate(timeout=HUNG)
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_that_hears_nothing_is_ended_when_patience_is(number):
    status, said = ended(start(STUCK.format(patience=0.2, body="stuck()")), number)
    assert (status, said) == (
        130,
        "semsim: stopped in the middle of a step; what was finished before is kept\n",
    )


def test_a_second_signal_does_not_wait():
    status, said = ended(start(STUCK.format(patience=3600, body="stuck()")), signal.SIGINT, signal.SIGTERM)
    assert (status, said) == (130, "semsim: stopped at once; what was finished before is kept\n")


def test_what_is_being_saved_is_waited_for_but_not_by_a_second_signal():
    body = "with signals.saving(): stuck()"
    process = start(STUCK.format(patience=0.1, body=body))
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.send_signal(signal.SIGINT)
    status, said = last_words(process)
    assert status == 130 and "at once" in said


def test_before_anything_is_loaded_it_ends_with_one_line():
    """JAX takes seconds to import, and a traceback out of the middle of it tells nobody anything."""
    code = (
        "import sys, types, builtins\n"
        "real = builtins.__import__\n"
        "def slow(name, *rest):\n"
        "    if name == 'semsim.command_line':\n"
        "        import time; print('begun', flush=True); time.sleep(600)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = slow\n"
        "sys.argv = ['semsim', 'ber']\n"
        "from semsim.cli import main\n"
        "main()\n"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        assert ended(start(code), number) == (130, "semsim: stopped\n")


def test_a_signal_that_is_heard_is_an_interrupt_and_handlers_are_given_back():
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    for number in signals.SIGNALS:
        with pytest.raises(KeyboardInterrupt), ending_in_time():
            signal.raise_signal(number)
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert not any(thread.name == "semsim-signals" for thread in threading.enumerate())


def test_work_that_asks_hears_the_first_signal_without_an_interrupt():
    with ending_in_time(), asked_to_stop() as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked()


def test_outside_the_main_thread_nothing_is_changed():
    seen = []

    def work():
        with ending_in_time():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_reader_that_has_gone_is_no_mistake():
    path = str(Path(semsim.__file__).parents[1])
    code = (
        "import sys; sys.argv = ['semsim', 'info', '--json']; from semsim.cli import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (141, b"")
    process.stderr.close()
