"""Ctrl-C and SIGTERM are heard in the middle of work, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.command_lines import command_lines

SPENDWATCH = Path(sys.executable).with_name("spendwatch")
AT_ONCE = 6.0  # a second and a half on an idle machine; without a look at the signal some 20 s


@pytest.fixture(autouse=True)
def signals_as_from_a_terminal():
    """A command begun by nohup or in the background inherits that some signals are ignored."""
    ignored = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def started(tmp_path, *arguments, until):
    """Start a command whose temporary files lie in a folder of the test's own."""
    process = subprocess.Popen(
        [SPENDWATCH, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)}, start_new_session=True,
    )  # fmt: skip
    try:
        assert any(line.startswith(until) for line in process.stdout)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ends(process):
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < AT_ONCE
    assert "Traceback" not in errors, errors
    return process.returncode


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_demo_that_is_interrupted_ends_at_once_and_leaves_nothing(tmp_path, number, code):
    with started(tmp_path, "demo", "--port", "0", until="local Slack") as process:
        time.sleep(3)  # it reads, or compiles, or replays
        assert command_lines(tmp_path)
        process.send_signal(number)
        assert ends(process) == code
    assert command_lines(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_demo_left_is_removed_by_the_next_and_not_what_another_still_has(tmp_path):
    def folders():
        return set(tmp_path.glob("spendwatch-demo-*"))

    with started(tmp_path, "demo", "--port", "0", until="local Slack") as process:
        process.kill()
        process.wait()
    (left,) = folders()
    assert len(command_lines(tmp_path)) == 1
    with started(tmp_path, "demo", "--port", "0", until="local Slack") as first:
        (mine,) = folders()
        assert mine != left
        assert len(command_lines(tmp_path)) == 1
        with started(tmp_path, "demo", "--port", "0", until="local Slack") as second:
            assert mine in folders()
            second.terminate()
            assert ends(second) == 143
        assert folders() == {mine}
        assert len(command_lines(tmp_path)) == 1
        first.terminate()
        assert ends(first) == 143
    assert list(tmp_path.iterdir()) == []
    assert command_lines(tmp_path) == []


def test_a_second_ctrl_c_ends_what_still_waits(tmp_path):
    with started(tmp_path, "demo", "--port", "0", until="local Slack") as process:
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert ends(process) == 130
    assert command_lines(tmp_path) == []


def test_a_run_that_takes_in_a_long_history_ends_at_once_and_goes_on_later(tmp_path):
    feed = Path(__file__).parents[2] / "service" / "sample" / "export"
    config = tmp_path / "c.toml"
    config.write_text(f'data_dir = "{tmp_path}/var"\napi.port = 0\n[sources.a]\npath = "{feed}"')
    (tmp_path / "var").mkdir(mode=0o755)
    for _ in range(2):
        with started(tmp_path, "run", "--config", str(config), until="watching") as process:
            time.sleep(4)
            process.send_signal(signal.SIGTERM)
            assert ends(process) == 0
        assert command_lines(tmp_path) == []
    files = [tmp_path / "var", *(tmp_path / "var").rglob("*")]
    assert len(files) > 8
    assert [file for file in files if file.stat().st_mode & 0o077] == []


def test_a_signal_where_nothing_can_be_raised_still_ends_the_work_and_is_not_complained_of():
    code = """
import signal
from service.entrypoints.stopping import Interrupted, Stop

class Dying:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

try:
    with Stop().interruptible():
        Dying()
except Interrupted:
    print("ended")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("ended\n", "")


def test_a_signal_where_nothing_can_be_raised_is_raised_again_where_something_can():
    code = """
import signal, time
from service.entrypoints.stopping import Interrupted, Stop

class Dying:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

stop = Stop()
try:
    with stop.interruptible():
        Dying()
        time.sleep(20)
        print("to the end")
except Interrupted:
    print("ended")
time.sleep(1.5)  # nothing is raised any more
print("on")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("ended\non\n", "")
