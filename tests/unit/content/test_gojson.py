"""registry.content.gojson: bytes as Go's encoder writes them."""

import pytest

from registry.content.gojson import encode


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (32768.0, "32768"),
        (1e20, "100000000000000000000"),
        (float(2**63), "9223372036854776000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (-2.5e-10, "-2.5e-10"),
        (True, "true"),
        (False, "false"),
        ("<a> & b", '"\\u003ca\\u003e \\u0026 b"'),
        ('"\\\n\r\t\b\f\x01\x7f', '"\\"\\\\\\n\\r\\t\\b\\f\\u0001\x7f"'),
        ("é\u2028\u2029", '"é\\u2028\\u2029"'),
        ({"b": ["x", 1.0], "a": {}}, '{"b":["x",1],"a":{}}'),
    ],
)
def test_values(value, expected):
    assert encode(value) == (expected + "\n").encode()


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_json_has_not(value):
    with pytest.raises(ValueError, match="no place in JSON"):
        encode([value])
