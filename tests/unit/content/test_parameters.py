"""registry.content.parameters: both forms of the file, and what is refused."""

import json

import pytest

from registry.content.parameters import parse_parameters
from registry.errors import FormatRefused


def parse(text):
    return parse_parameters(text if isinstance(text, bytes) else text.encode(), what="p.txt")


def refusal(text):
    with pytest.raises(FormatRefused) as caught:
        parse(text)
    assert caught.value.what.startswith("p.txt: ")
    return caught.value


LINES = '''
# sampling
PARAMETER temperature 0.7
parameter\ttop_k   64
PARAMETER stop "<end_of_turn>"
PARAMETER stop """a "b" """
PARAMETER stop plain text
PARAMETER use_mmap true
PARAMETER seed -1
'''
VALUES = {"temperature": 0.7, "top_k": 64.0, "stop": ["<end_of_turn>", 'a "b" ', "plain text"], "use_mmap": True, "seed": -1.0}


def test_modelfile_lines():
    assert parse(LINES) == VALUES
    assert parse(LINES.replace("\n", "\r\n")) == VALUES


def test_json_says_the_same():
    text = '{"temperature":0.7,"top_k":64,"stop":["<end_of_turn>","a \\"b\\" ","plain text"],"use_mmap":true,"seed":-1}'
    assert parse(text) == VALUES
    assert parse(" \n" + json.dumps(json.loads(text), indent=2)) == VALUES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1234567891", 0.12345679),
        ("1e-7", 1e-7),
        ("1e21", 1e21),
        ("16777217", 16777216.0),
        (".5", 0.5),
        ("+1.", 1.0),
        ("1e-60", 0.0),
        ("-0.0", 0.0),
    ],
)
def test_floats_are_rounded_to_32_bits(text, value):
    assert parse(f"PARAMETER temperature {text}") == {"temperature": value}


def test_every_line_end_and_value_of_a_bool():
    assert [parse(f"PARAMETER use_mmap {text}")["use_mmap"] for text in ("1", "t", "TRUE", "0", "F", "False")] == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n# nothing\n", "holds no parameters"),
        ("{}", "holds no parameters"),
        (b"PARAMETER stop \xff", "not text"),
        (" " * 2**20 + "x", "too large"),
        ("TEMPLATE x", "line 1 is no parameter"),
        ("FROM x.gguf", "line 1 is no parameter"),
        ("PARAMETER temperature", "line 1 is no parameter"),
        ("\nPARAMETER stop a\u200bb", "line 2 is no parameter"),
        ('PARAMETER stop "open', "quotation is not closed"),
        ('PARAMETER stop """open"', "quotation is not closed"),
        ('PARAMETER stop "', "quotation is not closed"),
        ("PARAMETER temprature 1", "unknown parameter 'temprature'"),
        ("PARAMETER Temperature 1", "unknown parameter 'Temperature'"),
        ("PARAMETER mirostat 1", "mirostat has no effect"),
        ("PARAMETER top_k 1\nPARAMETER top_k 1", "top_k is given twice"),
        ("PARAMETER top_k 1.5", "top_k has a wrong value"),
        ("PARAMETER top_k 9223372036854775808", "top_k has a wrong value"),
        ("PARAMETER top_k 1_0", "top_k has a wrong value"),
        ("PARAMETER top_k \u0663", "top_k has a wrong value"),
        ("PARAMETER temperature warm", "temperature has a wrong value"),
        ("PARAMETER temperature nan", "temperature has a wrong value"),
        ("PARAMETER temperature inf", "temperature has a wrong value"),
        ("PARAMETER temperature 1e39", "temperature has a wrong value"),
        ("PARAMETER temperature 1e999", "temperature has a wrong value"),
        ("PARAMETER use_mmap yes", "use_mmap has a wrong value"),
        ("{", "not readable as JSON"),
        ("{" * 100_000, "not readable as JSON"),
        ('{"a":' * 100_000, "not readable as JSON"),
        ('{"stop":["\\ud800"]}', "not readable as JSON"),
        ('{"stop":"a"}', "stop has a wrong value"),
        ('{"stop":[]}', "stop has a wrong value"),
        ('{"stop":[1]}', "stop has a wrong value"),
        ('{"stop":["a"],"stop":["b"]}', "stop has a wrong value"),
        ('{"stop":5}', "stop has a wrong value"),
        ('{"use_mmap":1}', "use_mmap has a wrong value"),
        ('{"use_mmap":"true"}', "use_mmap has a wrong value"),
        ('{"top_k":"1"}', "top_k has a wrong value"),
        ('{"top_k":true}', "top_k has a wrong value"),
        ('{"top_k":null}', "top_k has a wrong value"),
        ('{"top_k":1e1}', "top_k has a wrong value"),
        ('{"top_k":1,"top_k":2}', "top_k is given twice"),
        ('{"temperature":NaN}', "temperature has a wrong value"),
        ('{"temperature":{"a":1}}', "temperature has a wrong value"),
        ('{"num_ctx":1,"extra":1}', "unknown parameter 'extra'"),
    ],
)
def test_refusals(text, said):
    assert said in refusal(text).what


def test_an_unknown_parameter_is_answered_with_the_known_ones():
    assert "temperature" in refusal("PARAMETER temprature 1").why
