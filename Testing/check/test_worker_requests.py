"""Check and export requests of Slicer, as the worker reads them."""

import pytest
from cycleinr.grid import Target
from cycleinr.inference.options import UpsampleOptions
from cycleinr.worker.protocol import (
    CheckRequest,
    ExportRequest,
    ProtocolError,
    VolumeMessage,
    format_line,
    parse_check,
    parse_export,
    parse_line,
)

SCAN = VolumeMessage("in.npy", [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 4.0, 0], [0, 0, 0, 1.0]], "CT", 4.0)
CHECK = CheckRequest(3, SCAN, SCAN, UpsampleOptions(Target(ratio=2.0)), "error.npy")
EXPORT = ExportRequest(4, SCAN, ["/data/1.dcm", "/data/2.dcm"], "/data/new", {"model": "ct"})


@pytest.mark.parametrize(("request_", "parse"), [(CHECK, parse_check), (EXPORT, parse_export)])
def test_requests_survive_the_way(request_, parse):
    assert parse(parse_line(format_line(request_.to_message()))) == request_


@pytest.mark.parametrize(
    ("request_", "parse", "change"),
    [
        (CHECK, parse_check, {"output": "../error.npy"}),
        (CHECK, parse_check, {"result": None}),
        (CHECK, parse_check, {"extra": 1}),
        (EXPORT, parse_export, {"sources": []}),
        (EXPORT, parse_export, {"sources": "/data"}),
        (EXPORT, parse_export, {"sources": [1]}),
        (EXPORT, parse_export, {"folder": "a\0b"}),
        (EXPORT, parse_export, {"provenance": {"model": 3}}),
        (EXPORT, parse_export, {"id": None}),
    ],
)
def test_other_messages_are_refused(request_, parse, change):
    with pytest.raises(ProtocolError):
        parse({**request_.to_message(), **change})
