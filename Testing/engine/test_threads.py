"""Several threads compute what one computes, and leave nothing behind, whatever happens; the settings of PyTorch's."""

import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from cycleinr.inference.cpu_network import StripNetwork
from cycleinr.threads import Crew, CrewSize, numpys_blas
from cycleinr.weights import NetworkConfig, Parameters, Slicing, parameter_shapes
from hypothesis import given
from hypothesis import strategies as st
from places import REPOSITORY

CONFIG = NetworkConfig(width=16, decoder_width=16, blocks=4, smoothing_taps=7)


@pytest.fixture
def threads(monkeypatch):
    """Sets how many threads a run has."""
    return lambda count: monkeypatch.setenv("OMP_NUM_THREADS", str(count))


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(5)
    arrays = {
        name: (rng.standard_normal(shape) / max(1, int(np.prod(shape[1:]))) ** 0.5).astype(np.float32)
        for name, shape in parameter_shapes(CONFIG).items()
    }
    return StripNetwork(Parameters(CONFIG, arrays), Slicing(1.0, 6.0, 2.5), np.arange(0, 11, 0.4), 12)


STACK = np.random.default_rng(1).standard_normal((12, 20, 24)).astype(np.float32)


def computed(network, tick=lambda: None):
    return network.run(STACK, slice(0, 20), tick)


def ours():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("cycleinr-")]


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_the_result_is_that_of_one_thread(threads, network, count):
    threads(1)
    alone = computed(network)
    threads(count)

    together = computed(network)

    assert np.abs(together - alone).max() <= 1e-6
    assert np.isfinite(alone).all()
    assert ours() == []


def test_the_result_does_not_depend_on_who_is_first(threads, network):
    threads(2)
    assert np.array_equal(computed(network), computed(network))


@pytest.mark.parametrize("count", [1, 4])
def test_ticks_reach_the_calling_thread_and_none_is_lost(threads, network, count):
    threads(count)
    callers = []

    computed(network, lambda: callers.append(threading.current_thread()))

    assert callers == [threading.current_thread()] * network.ticks


@pytest.mark.parametrize("at", [1, 9, 22])
def test_what_a_tick_raises_ends_the_work_and_the_threads(threads, network, at):
    threads(2)
    told = []

    def cancel():
        told.append(1)
        if len(told) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        computed(network, cancel)

    assert len(told) == at
    assert ours() == []


def test_a_stream_that_is_left_is_closed_at_the_end(threads):
    closed = []

    def stream():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    with of(2) as many:
        next(many.relay(many.relay(stream())))
        assert closed == []

    assert closed == [True]
    assert ours() == []


@pytest.fixture
def blas():
    """The number of threads of NumPy's BLAS: three."""
    library = numpys_blas()
    before = library.get()
    library.set(3)
    yield library.get
    library.set(before)


def test_the_blas_has_one_thread_during_a_run_and_as_many_as_before_after_it(threads, network, blas):
    threads(3)
    inside = []
    computed(network, lambda: inside.append(blas()))
    assert set(inside) == {1}
    assert blas() == 3

    with pytest.raises(ZeroDivisionError):
        computed(network, lambda: 1 / 0)
    assert blas() == 3


def test_two_runs_at_once_leave_as_many_threads_as_before(threads, network, blas):
    threads(2)
    both = [threading.Thread(target=computed, args=(network,)) for _ in range(2)]
    for run in both:
        run.start()
    for run in both:
        run.join()
    assert blas() == 3


def test_a_blas_that_nobody_knows_is_left_alone(threads, network, monkeypatch):
    expected = computed(network)
    monkeypatch.setattr("cycleinr.threads.numpys_blas", lambda: None)
    threads(2)
    assert np.abs(computed(network) - expected).max() <= 1e-6


def of(size, tick=lambda: None):
    return Crew(CrewSize.of(size, 8), tick)


def counting(stop, log):
    for number in range(stop):
        log.append(number)
        yield number


def test_an_error_in_a_stream_reaches_the_caller(threads):
    def failing():
        yield 1
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"), of(4) as many:
        many.each(lambda item: None, many.relay(many.relay(failing())))
    assert ours() == []


def test_an_error_in_the_work_reaches_the_caller_and_the_stream_is_closed():
    closed = []

    def endless():
        try:
            while True:
                many.tick()
                yield 0
        finally:
            closed.append(True)

    with pytest.raises(ZeroDivisionError), of(4) as many:
        many.each(lambda item: 1 / item, many.relay(endless()))
    assert closed == [True]
    assert ours() == []


class Scan:
    """Something that a run holds."""


def failing(fails, scan, items):
    for item in items:
        if fails and item == 3:
            raise ZeroDivisionError(f"Nothing works with {scan}.")
        yield item


@pytest.mark.parametrize("place", ["stream", "inner stream", "work"])
def test_after_an_error_nothing_of_the_run_is_kept(place):
    """Without waiting for the collector of cycles: a cancelled run's volumes may be half of the memory."""

    def run(scan):
        with of(4) as many:
            inner = many.relay(failing(place == "inner stream", scan, range(9)))
            outer = many.relay(failing(place == "stream", scan, inner))
            many.each(lambda item: next(failing(place == "work", scan, [item])), outer)

    scan = Scan()
    alive = weakref.ref(scan)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ZeroDivisionError):
            run(scan)
        scan = None
        assert alive() is None
    finally:
        gc.enable()


def test_a_stream_runs_ahead_by_one_item():
    begun, seen = [], []

    with of(2) as many:
        for item in many.relay(counting(10, begun)):
            seen.append(len(begun) - item)

    assert begun == list(range(10))
    assert max(seen) <= 2


def test_waiting_work_is_bounded():
    """However fast the stream is; what waits holds slices in memory."""
    begun, most = [], []

    def work(item):
        sum(range(20_000))
        most.append(len(begun) - item)

    with of(4) as many:
        many.each(work, counting(30, begun))

    assert len(most) == 30
    assert max(most) <= 2 * CrewSize.of(4, 8).intervals + 3


@given(st.integers(1, 200), st.integers(1, 40))
def test_every_block_has_a_thread(count, blocks):
    size = CrewSize.of(count, blocks)
    assert (size.encoding - 1) * size.blocks_each < blocks <= size.encoding * size.blocks_each
    assert size.encoding <= max(1, count)
    assert size.intervals >= 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_the_command_line_waits_politely_unless_told_otherwise(environment, expected):
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import os, sys; sys.argv = ['cycleinr', '--help']\nfrom cycleinr.cli.app import run\nrun()\n"
    code += "assert 'torch' not in sys.modules\nprint('spin', os.environ.get('GOMP_SPINCOUNT'))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "CycleINRSlicer",
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.endswith(f"spin {expected}\n")
