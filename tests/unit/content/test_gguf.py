"""registry.content.gguf: what is read, and everything that is refused."""

import io
import struct

import gguf
import numpy as np
import pytest

from registry.content.gguf import Tensor, parse_gguf
from registry.errors import FormatRefused


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def tensor(name="t", shape=(4,), kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


TENSOR = tensor()
ARCHITECTURE = key("general.architecture", 8, text("llama"))


def build(
    keys=(ARCHITECTURE,),
    tensors=(TENSOR,),
    data=bytes(16),
    *,
    magic=b"GGUF",
    version=3,
    key_count=None,
    tensor_count=None,
    alignment=32,
    pad=True,
):
    header = magic + struct.pack(
        "<IQQ", version, len(tensors) if tensor_count is None else tensor_count, len(keys) if key_count is None else key_count
    )
    header += b"".join(keys) + b"".join(tensors)
    return header + (bytes(-len(header) % alignment) if pad else b"") + data


def parse(data):
    return parse_gguf(io.BytesIO(data), len(data), what="x.gguf")


def refusal(data):
    with pytest.raises(FormatRefused) as caught:
        parse(data)
    assert caught.value.what.startswith("x.gguf: ")
    return caught.value.why


def test_reads_what_the_reference_writer_writes(tmp_path):
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_type("model")
    writer.add_file_type(1)
    writer.add_block_count(2)
    writer.add_chat_template("{{ messages }}" * 1000)
    writer.add_token_list(["a", "b", "c" * 2000] * 1000)
    writer.add_array("tokenizer.ggml.scores", [0.5] * 3000)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_float64("x.y", 1.5)
    writer.add_tensor("token_embd.weight", np.zeros((3, 8), dtype=np.float32))
    writer.add_tensor("output.weight", np.zeros((5, 7), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = parse(path.read_bytes())
    assert (header.version, header.architecture, header.name, header.kind) == (3, "llama", "Tiny", "model")
    assert (header.file_type, header.block_count, header.vision_block_count, header.shards) == (1, 2, 0, 1)
    assert header.has_chat_template
    assert header.parameter_count == 3 * 8 + 5 * 7
    assert header.tensors == (Tensor("token_embd.weight", 0, (8, 3), 0, 96), Tensor("output.weight", 1, (7, 5), 96, 70))
    assert header.data_offset == gguf.GGUFReader(path).data_offset


def test_every_type_of_the_reference_implementation_is_known_with_its_size():
    sizes = dict(gguf.constants.GGML_QUANT_SIZES)
    assert len(sizes) > 30
    for kind, (per_block, block_bytes) in sizes.items():
        header = parse(build(tensors=[tensor(shape=(per_block, 3), kind=int(kind))], data=bytes(3 * block_bytes)))
        assert header.tensors[0].size == 3 * block_bytes


def test_version_2_and_another_alignment():
    data = build([ARCHITECTURE, key("general.alignment", 4, struct.pack("<I", 64))], version=2, alignment=64)
    assert (parse(data).version, parse(data).alignment, parse(data).data_offset % 64) == (2, 64, 0)


def test_the_last_tensor_may_be_padded_or_not():
    assert parse(build(data=bytes(16))) == parse(build(data=bytes(32)))


def test_numbers_of_another_type_are_not_seen_as_ollama_does_not_see_them():
    header = parse(build([ARCHITECTURE, key("general.file_type", 10, struct.pack("<Q", 15)), key("llama.block_count", 2, b"\1\0")]))
    assert (header.file_type, header.block_count) == (None, 0)


def test_a_shard_says_so():
    assert parse(build([ARCHITECTURE, key("split.count", 2, b"\3\0")])).shards == 3


@pytest.mark.parametrize("data", [b"", b"GGU", b"ggml" + bytes(40), b"PK\3\4" + bytes(40), b"FUGG" + bytes(40)])
def test_other_files(data):
    assert "a GGUF file begins with b'GGUF'" in refusal(data)


def test_big_endian_is_refused_by_name():
    assert refusal(b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(100)) == "it is big endian"


@pytest.mark.parametrize("version", [0, 1, 4, 2**31])
def test_unknown_versions(version):
    assert f"version {version} is unknown" in refusal(build(version=version))


def test_every_truncation_is_refused():
    whole = build(
        [ARCHITECTURE, key("a", 9, struct.pack("<IQ", 8, 2) + text("x") + text("yy")), key("b", 9, struct.pack("<IQ", 5, 3) + bytes(12))],
        [tensor("t"), tensor("u", (8,), 0, 32)],
        bytes(64),
    )
    parse(whole)
    for length in range(len(whole)):
        refusal(whole[:length])


def test_a_file_that_became_shorter_while_it_was_open():
    with pytest.raises(FormatRefused, match="it ends at byte"):
        parse_gguf(io.BytesIO(build()[:30]), len(build()), what="x.gguf")


ABSURD = {
    "tensors": (build(tensor_count=2**63), "9223372036854775808 tensors"),
    "keys": (build(key_count=2**63), "9223372036854775808 keys"),
    "a key's length": (build([struct.pack("<Q", 2**64 - 1)]), "a key claims 18446744073709551615 bytes"),
    "a text's length": (build([ARCHITECTURE, key("a", 8, struct.pack("<Q", 2**64 - 1))]), "its header goes on to byte"),
    "an array's length": (build([ARCHITECTURE, key("a", 9, struct.pack("<IQ", 10, 2**64 - 1))]), "its header goes on to byte"),
    "an array of texts": (build([ARCHITECTURE, key("a", 9, struct.pack("<IQ", 8, 2**64 - 1))]), "claims 18446744073709551615 strings"),
    "a text in an array": (build([ARCHITECTURE, key("a", 9, struct.pack("<IQQ", 8, 1, 2**64 - 1))]), "its header goes on to byte"),
    "nested arrays": (build([ARCHITECTURE, key("a", 9, struct.pack("<IQ", 9, 1))]), "nested type 9"),
    "an array's type": (build([ARCHITECTURE, key("a", 9, struct.pack("<IQ", 13, 1))]), "unknown type 13"),
    "a value's type": (build([ARCHITECTURE, key("a", 13, b"")]), "unknown type 13"),
    "a bool": (build([ARCHITECTURE, key("a", 7, b"\2")]), "neither true nor false"),
    "a key twice": (build([ARCHITECTURE, ARCHITECTURE]), "'general.architecture' is there twice"),
    "a key that is no text": (build([ARCHITECTURE, key(b"\xff", 7, b"\1")]), "not UTF-8"),
    "no architecture": (build([]), "general.architecture is missing"),
    "an empty architecture": (build([key("general.architecture", 8, text(""))]), "general.architecture is missing"),
    "an architecture that is a number": (build([key("general.architecture", 4, bytes(4))]), "general.architecture is missing"),
    "alignment 0": (build([ARCHITECTURE, key("general.alignment", 4, bytes(4))]), "not a power of two"),
    "alignment 48": (build([ARCHITECTURE, key("general.alignment", 4, struct.pack("<I", 48))]), "not a power of two"),
    "alignment of another type": (build([ARCHITECTURE, key("general.alignment", 10, struct.pack("<Q", 32))]), "not a power of two"),
    "dimensions": (build(tensors=[tensor(shape=(1,) * 5)]), "5 dimensions"),
    "a dimension of 0": (build(tensors=[tensor(shape=(4, 0))]), "not made of whole blocks"),
    "half a block": (build(tensors=[tensor(shape=(31,), kind=2)]), "whole blocks of 32"),
    "a tensor's type": (build(tensors=[tensor(kind=5)]), "unknown type 5"),
    "a huge tensor": (build(tensors=[tensor(shape=(2**63, 2**63))]), "it is cut, or its header wrong"),
    "an offset beyond the end": (build(tensors=[tensor(offset=2**63)]), "expected offset 0, found 9223372036854775808"),
    "a hole": (build(tensors=[tensor("t"), tensor("u", offset=64)], data=bytes(80)), "does not begin where it must: expected offset 32, found 64"),
    "an unaligned tensor": (build(tensors=[tensor("t"), tensor("u", offset=16)], data=bytes(80)), "does not begin where it must"),
    "overlapping tensors": (build(tensors=[tensor("t", (16,)), tensor("u", offset=32)], data=bytes(80)), "'u' overlaps the one before it"),
    "two tensors at one place": (build(tensors=[tensor("t"), tensor("u")]), "overlaps the one before it"),
    "one name for two tensors": (build(tensors=[tensor("t"), tensor("t", offset=32)], data=bytes(48)), "two tensors have one name"),
    "bytes after the last tensor": (build(data=bytes(33)), "1 bytes follow the last tensor"),
    "bytes after a header without tensors": (build(tensors=[], data=b"x"), "1 bytes follow the last tensor"),
}


@pytest.mark.parametrize("case", ABSURD)
def test_absurd_or_ambiguous_headers(case):
    data, why = ABSURD[case]
    assert why in refusal(data)


class Endless(io.RawIOBase):
    """A sparse file: a beginning, then zeros for ever."""

    def __init__(self, beginning):
        self.beginning, self.at, self.given = beginning, 0, 0

    def seek(self, offset, whence=0):
        self.at = offset
        return offset

    def read(self, size=-1):
        data = self.beginning[self.at : self.at + size].ljust(size, b"\0")
        self.at += size
        self.given += size
        return data


def test_a_header_beyond_its_limit_is_refused_without_reading_it():
    file = Endless(build([ARCHITECTURE, key("a", 9, struct.pack("<IQ", 0, 2**40))]))
    with pytest.raises(FormatRefused, match="its header is longer than"):
        parse_gguf(file, 2**50, what="x.gguf")
    assert file.given <= 1 << 20


def test_a_large_vocabulary_is_skipped_without_reading_it():
    count = 2**25
    file = Endless(build([ARCHITECTURE, key("a", 9, struct.pack("<IQ", 4, count))], tensors=[]))
    with pytest.raises(FormatRefused, match="bytes follow the last tensor"):
        parse_gguf(file, 2**50, what="x.gguf")
    assert file.given <= 2 << 20


def test_texts_across_chunks():
    strings = b"".join(text("x" * length) for length in range(2000))  # 2 MB: chunk boundaries fall inside lengths and texts
    data = build([key("a", 9, struct.pack("<IQ", 8, 2000) + strings), ARCHITECTURE])
    assert parse(data).architecture == "llama"
