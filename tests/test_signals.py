"""Being asked to stop."""

import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

from sar_codec.signals import STOPPING, Stopped, noting_signals, raise_stopped


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_noted_and_raised_at_the_end(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    reached = False
    with pytest.raises(Stopped, match=number.name) as stop, noting_signals() as request:
        assert request.number is None
        os.kill(os.getpid(), number)
        reached = request.number == number
    assert reached
    assert stop.value.number == number
    assert [signal.getsignal(each) for each in STOPPING] == before


def test_without_a_signal_nothing_is_raised() -> None:
    with noting_signals() as request:
        pass
    assert request.number is None


def test_a_launchers_own_handler_is_called_after_the_work() -> None:
    calls: list[str] = []
    before = signal.signal(signal.SIGUSR2, lambda *_: calls.append("requeue"))
    try:
        with pytest.raises(Stopped), noting_signals():
            os.kill(os.getpid(), signal.SIGUSR2)
            calls.append("save")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert calls == ["save", "requeue"]


def test_signals_that_follow_one_another_all_reach_a_launcher() -> None:
    """Slurm's SIGTERM must not hide the SIGUSR2 for which a launcher puts the job back."""
    calls: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: calls.append(number))
        for number in (signal.SIGTERM, signal.SIGUSR2)
    }
    try:
        with pytest.raises(Stopped, match="SIGTERM"), noting_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert calls == [signal.SIGTERM, signal.SIGUSR2]


def test_signals_are_passed_on_those_of_before_too() -> None:
    passed: list[int] = []
    with pytest.raises(Stopped), noting_signals() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        request.pass_on_to(passed.append)
        os.kill(os.getpid(), signal.SIGUSR2)
    assert passed == [signal.SIGTERM, signal.SIGUSR2]


def test_an_error_on_the_way_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), noting_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError


def test_the_same_signal_again_ends_the_process_at_once_unless_it_is_an_echo() -> None:
    program = """
import os, signal, sys, time
from sar_codec.signals import noting_signals
try:
    with noting_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # from a parent that passes it on
        os.kill(os.getpid(), signal.SIGUSR2)
        print("went on", flush=True)
        time.sleep(1.1)
        os.kill(os.getpid(), signal.SIGTERM)
finally:
    print("not reached")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, b"went on\n", b"")


def test_another_thread_leaves_signals_to_the_main_one() -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    seen = []

    def work() -> None:
        with noting_signals():
            seen.extend(signal.getsignal(each) for each in STOPPING)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before


def test_where_there_is_nothing_to_save_a_signal_is_an_exception() -> None:
    with pytest.raises(Stopped, match="SIGTERM"):
        raise_stopped(signal.SIGTERM, None)


def test_a_stop_can_be_sent_from_one_process_to_another() -> None:
    stop = pickle.loads(pickle.dumps(Stopped(signal.SIGTERM)))
    assert isinstance(stop, Stopped)
    assert (stop.number, str(stop)) == (signal.SIGTERM, "SIGTERM")


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noting_signals() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.number is None
    finally:
        signal.signal(signal.SIGINT, before)
