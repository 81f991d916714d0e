"""Requests of Slicer, as the worker reads them, fuzzed too, and what every error is called on the way."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from cycleinr import KINDS, Cancelled, CycleinrError, InputError, ProtocolError, error_of, kind_of
from cycleinr.geometry import Acquisition
from cycleinr.grid import Target
from cycleinr.request import UpsampleOptions
from cycleinr.result import Progress
from cycleinr.volume import Volume
from cycleinr.worker.folder import load_volume, save_array
from cycleinr.worker.protocol import (
    AcquisitionMessage,
    CheckRequest,
    ExportRequest,
    UpsampleRequest,
    VolumeMessage,
    event_message,
    format_line,
    parse_event,
    parse_line,
    parse_request,
    read_sources,
    write_sources,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SCAN = VolumeMessage("in.npy", [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 4.0, 0], [0, 0, 0, 1.0]], "CT", 4.0)
CHECK = CheckRequest(SCAN, SCAN, UpsampleOptions(Target(ratio=2.0)), "error.npy")
UPSAMPLE = UpsampleRequest(SCAN, UpsampleOptions(Target(ratio=2.0), device="cpu"), "out.npy")
EXPORT = ExportRequest(SCAN, "sources.json", "/data/new", {"model": "ct"})


UNEVEN = replace(
    UPSAMPLE,
    input=replace(
        SCAN,
        acquisition=AcquisitionMessage(**Acquisition([0, 2.5, 7.5], [2.5, 2.5, 5], np.eye(3)).to_dict()),
        valid="mask.npy",
        notes=["Gantry tilt of 12.0 degrees removed."],
    ),
    options=replace(UPSAMPLE.options, fill_gaps=True),
)


@pytest.mark.parametrize("request_", [CHECK, EXPORT, UNEVEN])
def test_requests_survive_the_way(request_):
    assert parse_request(parse_line(format_line(request_.to_message(3)))) == (3, request_)


def test_a_scan_of_uneven_slices_arrives_as_it_is(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    own = Acquisition([0, 2.5, 5, 10], [2.5, 2.5, 5, 5])
    scan = Volume(array, np.diag([1, 1, 2.5, 1]), "CT", notes=("A note.",), acquisition=own, valid=array % 5 != 0)
    scan = replace(scan, made_by_cycleinr=True)
    save_array(tmp_path, "in.npy", scan.array)
    save_array(tmp_path, "mask.npy", scan.valid)
    request = replace(UPSAMPLE, input=VolumeMessage.of(scan, "in.npy", "mask.npy"))
    _, heard = parse_request(parse_line(format_line(request.to_message(3))))
    found = load_volume(tmp_path, heard.input)
    assert found.geometry_equal(scan) and found.acquisition.to_dict() == own.to_dict() and found.notes == scan.notes
    assert found.made_by_cycleinr and np.array_equal(found.array, array) and np.array_equal(found.valid, scan.valid)


@pytest.mark.parametrize(
    ("request_", "change"),
    [
        (CHECK, {"output": "../error.npy"}),
        (CHECK, {"result": None}),
        (CHECK, {"extra": 1}),
        (CHECK, {"id": None}),
        (UPSAMPLE, {"input": {**asdict(SCAN), "acquisition": {"axis": "k"}}}),
        (UPSAMPLE, {"input": {**asdict(SCAN), "acquisition": {"positions_mm": ["0"]}}}),
        (UPSAMPLE, {"input": {**asdict(SCAN), "ijk_to_ras": [[1, 0, 0, 0], [0, 1, 0]]}}),
        (UPSAMPLE, {"input": {**asdict(SCAN), "valid": "../mask.npy"}}),
        (UPSAMPLE, {"input": {**asdict(SCAN), "notes": "tilted"}}),
        (UPSAMPLE, {"options": {**asdict(UPSAMPLE.options), "fill_gaps": 1}}),
        (EXPORT, {"sources": []}),
        (EXPORT, {"sources": "/data"}),
        (EXPORT, {"provenance": {"model": 3}}),
    ],
)
def test_other_messages_are_refused(request_, change):
    with pytest.raises(ProtocolError):
        parse_request({**request_.to_message(3), **change})


def test_a_caller_that_knows_of_no_uneven_slices_is_understood():
    message = UPSAMPLE.to_message(3)
    del message["input"]["acquisition"], message["options"]["fill_gaps"]
    del message["input"]["valid"], message["input"]["notes"]
    assert parse_request(message) == (3, UPSAMPLE)


def test_a_series_of_any_length_is_handed_over(tmp_path):
    sources = [f"/database/{'x' * 200}/Jörg/{number}.dcm" for number in range(10_000)]
    write_sources(tmp_path / "sources.json", sources)
    assert [str(path) for path in read_sources(tmp_path / "sources.json")] == sources


@pytest.mark.parametrize("content", ["", "3", "[3]"])
def test_a_damaged_list_of_sources_is_an_input_error(tmp_path, content):
    path = tmp_path / "sources.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"sources\.json"):
        read_sources(path)


def heard(event):
    return parse_event(json.loads(format_line(event_message(3, event))))


@pytest.mark.parametrize("event", [Progress("Computing", 0.25, None), {"files": 3, "max_error": 0.0}])
def test_events_survive_the_way(event):
    assert heard(event) == event


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (InputError("no"), InputError, "no"),
        (Cancelled("no"), Cancelled, "Cancelled."),
        (KeyError("x"), CycleinrError, "KeyError: 'x'"),
    ],
)
def test_errors_survive_the_way(error, kind, text):
    assert type(heard(error)) is kind and str(heard(error)) == text


@pytest.mark.parametrize("message", [{}, {"event": "flown"}, {"event": "failed", "id": 1}, {"event": ["done"]}])
def test_events_that_nobody_knows_are_refused(message):
    with pytest.raises(ProtocolError):
        parse_event(message)


def test_every_error_of_the_engine_has_a_name_that_brings_it_back():
    def below(kind):
        return [kind, *(each for sub in kind.__subclasses__() for each in below(sub))]

    ours = [kind for kind in below(CycleinrError)[1:] if kind.__module__.partition(".")[0] == "cycleinr"]
    assert set(ours) == set(KINDS.values()) and {kind.__module__ for kind in ours} == {"cycleinr"}
    for kind in ours:
        assert type(error_of(kind_of(kind("why")), "why")) is kind
    assert kind_of(KeyError("x")) == "UnexpectedError" and str(error_of("UnexpectedError", "why")) == "why"


@pytest.mark.parametrize("name", ["../in.npy", "/in.npy", "a\\in.npy", ".npy", "in.npz", "C:in.npy", 3, None])
def test_paths_are_refused(name):
    with pytest.raises(ProtocolError):
        parse_request({**UPSAMPLE.to_message(3), "output": name})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_fuzzed_lines_are_parsed_or_refused(line):
    try:
        assert isinstance(parse_line(line), dict)
    except ProtocolError as error:
        assert str(error)


VALID = format_line(UPSAMPLE.to_message(7))
SIMPLE = [
    None, True, False, 0, -1, 2**70, 0.5, float("nan"), float("inf"), "", "../x", "k" * 300, [], [[]], {}, {"": 0},
]  # fmt: skip


def places(value) -> list[tuple]:
    """Keys and indices that lead to each value inside, those of the values inside these too."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(key, *rest) for key, held in inner for rest in [(), *places(held)]]


def assert_read_or_refused(place: tuple, value) -> None:
    """A valid request with one value, at any depth, replaced by anything that JSON can say."""
    message = holder = json.loads(VALID)
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    try:
        number, request = parse_request(message)
        assert isinstance(number, int) and isinstance(request, UpsampleRequest)
    except CycleinrError as error:
        assert str(error)


PLACES = places(json.loads(VALID))


def test_a_simple_value_in_any_place_is_read_or_refused():
    assert len(PLACES) > 30
    for place in PLACES:
        for value in SIMPLE:
            assert_read_or_refused(place, value)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_any_value_in_any_place_is_read_or_refused(place, value):
    assert_read_or_refused(place, value)
