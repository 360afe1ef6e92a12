"""Every parser: whatever bytes come, a value that writes back the same bytes, or a refusal, nothing else."""

import base64
import contextlib
import json
import string
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.content import canonical
from registry.content.digest import parse_digest
from registry.content.manifest import CONFIG_TYPE, LAYER_TYPES, MANIFEST_TYPE, Descriptor, Manifest, parse_manifest
from registry.content.pins import Pin, parse_pins, with_pin
from registry.content.reference import Reference, parse_reference, parse_repository, parse_selector
from registry.errors import AirlockError, FormatRefused
from registry.media.index import MAX_PART_BYTES, MIN_PART_BYTES, Index, Object, parse_index
from registry.media.sets import Header, new_set_id, parse_header
from registry.trust.keys import new_signer
from registry.trust.receipt import CompletedSet, Holding, PublisherState, Receipt, parse_receipt
from registry.trust.statement import Release, parse_statement

HEX64 = st.text("0123456789abcdef", min_size=64, max_size=64)
DIGESTS = HEX64.map(lambda text: parse_digest(f"sha256:{text}"))
NAMES = st.from_regex(r"[a-z0-9_][a-z0-9_-]{0,20}", fullmatch=True)
TAGS = st.from_regex(r"[a-z0-9_][a-z0-9_.]{0,20}", fullmatch=True).filter(lambda tag: tag not in ("cloud", "local"))
REFERENCES = st.builds(Reference, NAMES, st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,20}", fullmatch=True), TAGS)
LEAVES = st.none() | st.booleans() | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER) | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=20,
)
EXTENSIONS = st.dictionaries(st.text(string.ascii_lowercase, min_size=1), LEAVES, max_size=3)
SIZES = st.integers(1, 2**40)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)

WRAPPED = st.binary(min_size=32, max_size=32).map(lambda seed: seed * 36 + seed[:16])  # 1,168 bytes, as X-Wing wraps a set key
HEADERS = st.builds(
    Header,
    st.builds(new_set_id, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)),
    st.dictionaries(HEX64, WRAPPED, min_size=1, max_size=3),
    EXTENSIONS,
)
DESCRIPTORS = st.builds(Descriptor, st.sampled_from(sorted(LAYER_TYPES)), DIGESTS, SIZES, st.just(""), st.just(""))


@st.composite
def manifests(draw):
    layers = draw(st.lists(DESCRIPTORS, min_size=1, max_size=5, unique_by=lambda each: each.digest))
    config = draw(st.builds(Descriptor, st.just(CONFIG_TYPE), DIGESTS.filter(lambda digest: digest not in {each.digest for each in layers}), SIZES))
    named = draw(st.lists(st.sampled_from(["", "blk.0.weight", "/models/a b.gguf"]), min_size=len(layers), max_size=len(layers)))
    return Manifest(config, tuple(Descriptor(each.media_type, each.digest, each.size, name, name) for each, name in zip(layers, named, strict=True)))


@st.composite
def indexes(draw):
    sizes = draw(st.lists(st.integers(1, 5 << 20), max_size=6))
    offsets = [sum(sizes[:at]) for at in range(len(sizes))]
    digests = draw(st.lists(DIGESTS, min_size=len(sizes), max_size=len(sizes), unique=True))
    return Index(
        set_id=draw(PRINTABLE),
        header=draw(DIGESTS),
        created=draw(PRINTABLE),
        publisher=draw(HEX64),
        root=draw(st.integers(1, 1000)),
        sites=tuple(draw(st.lists(HEX64, max_size=3))),
        statements=tuple(draw(st.lists(st.binary(max_size=50), max_size=3))),
        objects=tuple(map(Object, digests, offsets, sizes)),
        part_size=draw(st.integers(MIN_PART_BYTES, MAX_PART_BYTES)),
        checkpoint=(draw(st.integers(1, 2**40)), draw(DIGESTS)),
        extensions=draw(EXTENSIONS),
    )


@st.composite
def releases(draw):
    blobs = draw(st.lists(DESCRIPTORS, max_size=4, unique_by=lambda each: each.digest))
    manifest = draw(
        st.builds(Descriptor, st.just(MANIFEST_TYPE), DIGESTS.filter(lambda digest: digest not in {each.digest for each in blobs}), SIZES)
    )
    return Release(
        draw(HEX64),
        draw(REFERENCES),
        draw(st.integers(1, 999_999_999)),
        draw(HEX64),
        (manifest, *blobs),
        draw(PRINTABLE),
        draw(st.dictionaries(PRINTABLE, PRINTABLE, max_size=3)),
        tuple(draw(st.lists(HEX64, max_size=2))),
    )


SET_IDS = st.builds(new_set_id, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1)).map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
VERSIONS = st.none() | st.integers(1, 2**31)
RECEIPT_KEY = new_signer().public_key


@st.composite
def receipts(draw):
    publishers = st.builds(PublisherState, HEX64, st.integers(1, 1000), VERSIONS, VERSIONS, VERSIONS, st.none() | TIMES)
    return Receipt(
        site=RECEIPT_KEY.keyid,
        receipt_key=RECEIPT_KEY,
        made=draw(TIMES),
        checkpoint=(draw(st.integers(1, 2**40)), draw(DIGESTS)),
        publishers=tuple(sorted(draw(st.lists(publishers, max_size=2, unique_by=lambda each: each.publisher)), key=lambda each: each.publisher)),
        sets=tuple(
            sorted(
                draw(st.lists(st.builds(CompletedSet, SET_IDS, DIGESTS), max_size=3, unique_by=lambda each: each.set_id)),
                key=lambda each: each.set_id,
            )
        ),
        newest_set=draw(st.none() | SET_IDS),
        holds=tuple(
            sorted(
                draw(st.lists(st.builds(Holding, DIGESTS, SIZES, st.none() | SET_IDS), max_size=4, unique_by=lambda each: each.digest)),
                key=lambda each: each.digest,
            )
        ),
    )


PARSERS = {
    "canonical": (lambda data: canonical.load(data, what="x", limit=1 << 20), canonical.dump),
    "header": (lambda data: parse_header(data, what="x"), Header.to_bytes),
    "index": (lambda data: parse_index(data, what="x"), Index.to_bytes),
    "statement": (lambda data: parse_statement(data, what="x"), Release.to_bytes),
    "manifest": (parse_manifest, Manifest.to_bytes),
    "receipt": (lambda data: parse_receipt(data, what="x"), Receipt.to_bytes),
}
WRITTEN = {
    "canonical": VALUES.map(canonical.dump),
    "header": HEADERS.map(Header.to_bytes),
    "index": indexes().map(Index.to_bytes),
    "statement": releases().map(Release.to_bytes),
    "manifest": manifests().map(Manifest.to_bytes),
    "receipt": receipts().map(Receipt.to_bytes),
}


@given(VALUES)
def test_canonical_json_round_trip(value):
    assert canonical.load(canonical.dump(value), what="x", limit=1 << 30) == value


@given(HEADERS)
def test_header_round_trip(header):
    assert parse_header(header.to_bytes(), what="x") == header


@given(indexes())
def test_index_round_trip(index):
    if index.parts <= 10_000:
        assert parse_index(index.to_bytes(), what="x") == index


@given(releases())
def test_statement_round_trip(release):
    assert parse_statement(release.to_bytes(), what="x") == release


@given(manifests())
def test_manifest_round_trip(manifest):
    assert parse_manifest(manifest.to_bytes()) == manifest


@given(receipts())
def test_receipt_round_trip(receipt):
    assert parse_receipt(receipt.to_bytes(), what="x") == receipt


def same_or_refused(name, data):
    parse, write = PARSERS[name]
    try:
        value = parse(data)
    except AirlockError:
        return
    assert write(value) == data


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.binary(max_size=300))
@example(data=b"")
@example(data=b"[" * 100_000)
@example(data=b'{"a":' * 50_000)
@example(data=b"-0")
@example(data=b"1e400")
@example(data=b'"\\ud83d\\ude00"')
@example(data=b'"\xed\xa0\x80"')
def test_any_bytes(name, data):
    same_or_refused(name, data)


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_edited_bytes(name, data):
    """What the writer writes, with a few bytes replaced, inserted or removed."""
    written = bytearray(data.draw(WRITTEN[name]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(written)))
        written[start : start + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b",", b"0", b" ", b"{}", b"null", b"\\u0041"])
        )
    same_or_refused(name, bytes(written))


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_edited_members(name, data):
    """What the writer writes, with a member of any depth replaced by any value, added or taken away, written canonically again."""
    document = json.loads(data.draw(WRITTEN[name]))
    place, holders = document, []
    while isinstance(place, dict | list) and place:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        holders.append((place, key))
        place = place[key]
        if data.draw(st.booleans()):
            break
    if not holders:
        return
    holder, key = holders[-1]
    change = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if change == "replace":
        holder[key] = data.draw(VALUES)
    elif change == "remove":
        del holder[key]
    elif isinstance(holder, dict):
        holder[data.draw(st.text(string.ascii_letters))] = data.draw(VALUES)
    else:
        holder.append(data.draw(VALUES))
    try:
        same_or_refused(name, canonical.dump(document))
    except ValueError:
        assert change != "remove"  # nested too deep to be written: nothing to test


@given(st.text(max_size=120))
def test_names(text):
    for parse in (parse_reference, parse_selector, parse_digest, lambda each: parse_repository(each, what="x")):
        try:
            value = str(parse(text))
        except AirlockError:
            continue
        assert str(parse(value)) == value


@given(REFERENCES)
def test_reference_round_trip(reference):
    assert parse_reference(str(reference)) == reference
    assert parse_reference(str(reference).upper()) == reference


MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]))
PINS = st.builds(
    Pin,
    REFERENCES,
    DIGESTS,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    MOMENTS.map(lambda each: each.replace(microsecond=0)),
    st.booleans(),
)


def pinnable(pin):
    try:
        return parse_reference(str(pin.reference), pinnable=True) == pin.reference
    except FormatRefused:
        return False


@given(st.lists(PINS.filter(pinnable), max_size=5))
def test_pins_round_trip(pins):
    text = ""
    for pin in pins:
        text = with_pin(text, pin)
    assert parse_pins(text, what="x") == {pin.reference: pin for pin in pins}


@given(st.lists(PINS.filter(pinnable), min_size=2, max_size=3, unique_by=lambda each: each.reference))
def test_pinning_again_changes_one_table(pins):
    """Comments and the other pins stay as people left them."""
    text = "".join(["# a comment\n", with_pin(with_pin("", pins[0]), pins[1])])
    again = with_pin(text, Pin(pins[0].reference, "sha256:" + "0" * 64, "file:x", pins[0].pinned))
    assert again.startswith("# a comment\n")
    assert parse_pins(again, what="x")[pins[1].reference] == pins[1]
    assert parse_pins(again, what="x")[pins[0].reference].source == "file:x"


@given(st.text(max_size=200) | st.text(alphabet='[]pin="v1\n.#{}', max_size=60))
@example("v = 1\n[[pin]]\nname = 1\n")
@example('v = 1\npin = "x"\n')
@example("v = 1\npin = [1]\n")
def test_any_text_as_pins(text):
    with contextlib.suppress(AirlockError):
        parse_pins(text, what="x")


def test_base64_has_one_spelling():
    """The last digit before the padding has bits that count for nothing; they must be zero."""
    header = Header(new_set_id(1, bytes(10)), {"0" * 64: bytes(1168)}).to_bytes()
    assert b"AAA=" in header
    other = header.replace(b"AAA=", b"AAB=")
    assert base64.b64decode("AAA=") == base64.b64decode("AAB=")
    with pytest.raises(FormatRefused):
        parse_header(other, what="x")
