from __future__ import annotations

import collections
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minicnn.data.pickled import read_pickle
from tests.data.pickles import array, dictionary, nested, number, numbers, text


@pytest.mark.filterwarnings("ignore")  # NumPy's of old pickles, in some of its versions
@given(
    values=arrays(np.uint8, array_shapes(min_dims=1, max_dims=3)), fortran=st.booleans(),
    labels=st.lists(st.integers(-9, 99)), name=st.binary(max_size=300),
)  # fmt: skip
def test_what_python_2_pickled_is_read_as_by_pickle(values, fortran, labels, name):
    if fortran:
        values = np.asfortranarray(values)
    content = dictionary(data=array(values), labels=numbers(labels), name=text(name))
    got, expected = read_pickle(content), pickle.loads(content, encoding="bytes")
    assert list(got) == list(expected) == [b"data", b"labels", b"name"]
    np.testing.assert_array_equal(got[b"data"], expected[b"data"])
    np.testing.assert_array_equal(got[b"data"], values)
    assert (got[b"data"].dtype, got[b"data"].shape) == (np.uint8, values.shape)
    assert (got[b"labels"], got[b"name"]) == (labels, name)


class Call:
    """Pickled, a call of a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "what",
    [
        Call(os.mkdir, "made"),
        Call(eval, "__import__('os').mkdir('made')"),
        Call(getattr, "", "join"),
        Call(np.frombuffer, b"12", "u1"),
        collections.OrderedDict(),
        np.zeros(3, object),
    ],
)
def test_nothing_is_called(tmp_path, monkeypatch, what, protocol):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"cannot be unpickled \(it asks for .*, which is not data"
    ):
        read_pickle(pickle.dumps({b"data": what}, protocol))
    assert list(tmp_path.iterdir()) == []


VALUES = np.arange(6, dtype=np.uint8).reshape(2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dictionary(data=array(VALUES, kind=b"O8")), "an array is of b'O8', not of bytes"),
        (dictionary(data=array(VALUES, kind=b"f8")), "an array is of b'f8', not of bytes"),
        (dictionary(data=array(VALUES, call=b"scalar")), "asks for numpy.core.multiarray.scalar"),
        (dictionary(data=array(VALUES)).replace(number(3), number(4)), "cannot reshape array"),
        (b"\x80\x02}cnumpy\nndarray\n}bs.", "cannot be unpickled"),  # the state of a class
        (b"\x80\x02cnumpy\ndtype\nU\x02u1\x85R.", "holds a _Dtype where a dictionary is expected"),
        (b"\x80\x02}U\x01xP7\ns.", "cannot be unpickled"),
        (b"\x80\x04}\x82\x01s.", "cannot be unpickled"),
        (b"\x80\x02B\xff\xff\xff\x7fabc.", "cannot be unpickled"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "cannot be unpickled"),
        (b"\x80\x02]r\xff\xff\xff\xff.", "."),
    ],
)
def test_what_is_not_bytes_or_damaged(content, message):
    with pytest.raises(ValueError, match=message):
        read_pickle(content)


def test_an_array_without_a_state_is_none():
    content = b"\x80\x02}(U\x04datacnumpy\nndarray\n)Ru."
    assert read_pickle(content) == {b"data": None}


@given(content=st.binary(max_size=60))
def test_random_bytes_are_refused(content):
    with pytest.raises(ValueError, match=r"unpickled|dictionary"):
        read_pickle(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02c" + b"o" * 5_000_000 + b"\nsystem\n.", "(it asks for ooooo"),
        (dictionary(data=array(VALUES, kind=b"f" * 5_000_000)), "(an array is of b'fff"),
        (b"\x80\x02" + nested(100_000) + b"0cnumpy\ndtype\n" + nested(100_000) + b"\x85R.", "("),
    ],
)
def test_the_message_is_short_whatever_the_content(content, message):
    with pytest.raises(ValueError, match="cannot be unpickled") as error:
        read_pickle(content)
    assert message in str(error.value)
    assert len(str(error.value)) < 300


def test_an_error_without_a_text_is_named(monkeypatch):
    def fail(self, *args):
        raise EOFError

    monkeypatch.setattr("minicnn.data.pickled._Dtype.__init__", fail)
    with pytest.raises(ValueError, match=r"^cannot be unpickled \(EOFError\)$"):
        read_pickle(dictionary(data=array(VALUES)))
