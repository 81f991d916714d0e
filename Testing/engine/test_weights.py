"""Our reader of weights against the safetensors library, and against files that are not what they say."""

import json

import numpy as np
import pytest
from cycleinr import ModelError
from cycleinr.request import BUNDLED, bundled_weights
from cycleinr.weights import read_card, read_tensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load, save


def file_of(header, numbers: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + numbers


def entry(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_weights_are_read_as_the_library_reads_them(name):
    data = bundled_weights(name).read_bytes()

    ours, theirs = read_tensors(data), load(data)

    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) and ours[key].dtype == np.float32 for key in theirs)


@given(
    st.dictionaries(st.text(max_size=12), st.lists(st.integers(0, 4), max_size=4), max_size=6),
    st.one_of(st.none(), st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=1, max_size=3)),
)
def test_whatever_the_library_writes_is_read(shapes, metadata):
    shapes.pop("__metadata__", None)
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    read = read_tensors(save(tensors, metadata))

    assert {name: array.shape for name, array in read.items()} == {n: a.shape for n, a in tensors.items()}
    assert all(np.array_equal(read[name], tensors[name]) for name in tensors)


GOOD = {"a": entry([2], [0, 8]), "b": entry([1, 1], [8, 12])}
FAULTY = {
    "empty": b"",
    "shorter than its length": b"\x08\0\0",
    "header beyond the file": file_of(GOOD, bytes(12), length=10_000),
    "header of terabytes": file_of(GOOD, bytes(12), length=1 << 62),
    "no JSON": file_of(b"{nonsense", bytes(12)),
    "no UTF-8": file_of(b'{"\xff": 1}', bytes(12)),
    "a list": file_of([1, 2], bytes(12)),
    "deeply nested": file_of(b"[" * 100_000, b""),
    "one name twice": file_of(b'{"a": %s, "a": %s}' % ((json.dumps(GOOD["a"]).encode(),) * 2), bytes(8)),
    "no tensor": file_of({"a": 3}, b""),
    "another key": file_of({"a": {**GOOD["a"], "more": 1}}, bytes(8)),
    "another type": file_of({"a": entry([4], [0, 8], "F16")}, bytes(8)),
    "a type that is no text": file_of({"a": entry([2], [0, 8], ["F32"])}, bytes(8)),
    "a negative size": file_of({"a": entry([-2], [0, 8])}, bytes(8)),
    "a size that is no whole number": file_of({"a": entry([2.0], [0, 8])}, bytes(8)),
    "a size that is a truth value": file_of({"a": entry([True, 2], [0, 8])}, bytes(8)),
    "sizes whose product overflows": file_of({"a": entry([1 << 40, 1 << 40], [0, 8])}, bytes(8)),
    "many dimensions": file_of({"a": entry([1] * 1000, [0, 4])}, bytes(4)),
    "a place that ends before it begins": file_of({"a": entry([2], [8, 0])}, bytes(8)),
    "a negative place": file_of({"a": entry([2], [-8, 0])}, bytes(8)),
    "a place beyond the file": file_of({"a": entry([2], [0, 8])}, bytes(4)),
    "fewer bytes than the shape": file_of({"a": entry([3], [0, 8])}, bytes(8)),
    "a gap": file_of({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, bytes(12)),
    "an overlap": file_of({"a": entry([2], [0, 8]), "b": entry([2], [4, 12])}, bytes(12)),
    "bytes after the last tensor": file_of(GOOD, bytes(13)),
    "metadata that is no text": file_of({"__metadata__": {"a": 1}, **GOOD}, bytes(12)),
}


@pytest.mark.parametrize("data", FAULTY.values(), ids=FAULTY)
def test_a_file_that_is_not_what_it_says_is_refused(data):
    with pytest.raises(ValueError):
        read_tensors(data)


def test_what_the_faulty_files_are_made_from_is_read():
    assert list(read_tensors(file_of(GOOD, bytes(12)))) == ["a", "b"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="'a' holds numbers that are not finite"):
        read_tensors(save({"a": np.array([1, value], np.float32)}))


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_what_is_read_from_a_damaged_file_is_what_the_library_reads(place, value):
    """Any byte may be another: refused, or read as the library does."""
    data = bytearray(file_of(GOOD, bytes(12)))
    data[place % len(data)] = value
    try:
        ours = read_tensors(bytes(data))
    except ValueError:
        return
    try:
        theirs = load(bytes(data))
    except SafetensorError as error:
        raise AssertionError(f"The library refuses what is read: {error}") from error
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    "change",
    [
        *({"training": wrong} for wrong in (None, [], {"ratios": 8}, {"ratios": ["a", "b"]}, {"ratios": [0, 0]})),
        {"name": ["ct"]},
        {"architecture": 3},
    ],
)
def test_a_card_whose_entries_are_of_another_type_is_refused(tmp_path, change):
    card = {"format": 1, "sha256": "", "network": {}, "training": {"ratios": [1.5, 8]}}
    (tmp_path / "mine.json").write_text(json.dumps(card))
    assert read_card(tmp_path / "mine.safetensors") == card

    (tmp_path / "mine.json").write_text(json.dumps(card | change))
    with pytest.raises(ModelError, match=r"mine\.json"):
        read_card(tmp_path / "mine.safetensors")
