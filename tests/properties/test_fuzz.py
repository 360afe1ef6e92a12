"""Ten CPU minutes of bent input for every parser that reads what others wrote: only a value or our own refusal may come out.

Each parser gets real bytes, bent by chance: bits flipped, stretches cut, doubled or exchanged, and words put in that parsers stumble over.  The seed is
in the failure's message; ``AIRLOCK_FUZZ_SECONDS`` changes the CPU seconds each parser gets.
"""

import io
import os
import random
import time
from fractions import Fraction

import pytest

from registry.content.digest import digest_of
from registry.content.gguf import parse_gguf
from registry.content.pins import parse_pins
from registry.content.view import parse_view
from registry.errors import AirlockError
from registry.media.index import Held, Index, Object, parse_index
from registry.media.parity import group_parts
from registry.media.receipt_file import open_receipt_file, seal_receipt
from registry.media.recipients import new_identity
from registry.media.sets import parse_header
from registry.store.home import Home
from registry.trust.keys import new_signer
from registry.trust.receipt import CompletedSet, Holding, PublisherState, Receipt, open_receipt, parse_receipt, sign_receipt
from registry.trust.repair import RepairRequest, parse_repair
from registry.trust.statement import parse_statement
from registry.workflow.site import read_site
from registry.workflow.site_card import parse_site_card

SECONDS = float(os.environ.get("AIRLOCK_FUZZ_SECONDS", "60"))
WORDS = [
    b"{",
    b"}",
    b"[" * 40,
    b'"',
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"9" * 30,
    b"-1",
    b"1e5",
    b"null",
    b"\xff",
    b"\x00" * 8,
    b"\xff" * 8,
    b'"v":1,',
    b"\n",
    b"'''",
]


STATION = new_identity()


def as_text(data):
    return data.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


def same_view(data):
    """What is written is what was read; a view of version 1 is written as version 2 and means the same."""
    view = parse_view(data)
    written = view.to_bytes()
    return written == data or (b'"v":1,' in data and parse_view(written) == view)


PARSERS = {
    "set.json": lambda data: parse_header(data, what="fuzz").to_bytes() == data,
    "index": lambda data: parse_index(data, what="fuzz").to_bytes() == data,
    "statement": lambda data: parse_statement(data, what="fuzz") is not None,
    "pins": lambda data: parse_pins(as_text(data), what="fuzz") is not None,
    "gguf": lambda data: parse_gguf(io.BytesIO(data), len(data), what="fuzz") is not None,
    "site.pub": lambda data: parse_site_card(data, what="fuzz") is not None,
    "view": same_view,
    "receipt": lambda data: parse_receipt(data, what="fuzz").to_bytes() == data,
    "repair request": lambda data: parse_repair(data, what="fuzz").to_bytes() == data,
    "receipt file": lambda data: open_receipt(open_receipt_file(data, [STATION], what="fuzz"), what="fuzz") is not None,
}


def originals(world):
    with read_site(Home(world.path("in"))) as log:
        statements = [log.document(each.statement) for each in log.releases()]
    digests = [digest_of(bytes([number])) for number in range(3)]
    objects = tuple(Object(digest, number * 1000, 1000) for number, digest in enumerate(digests))
    index = Index(
        "01M7ZQEJKVBHWZASY02FSYWH07",
        digests[0],
        "2026-11-21T18:09:00Z",
        "ab" * 32,
        1,
        ("cd" * 32,),
        tuple(statements),
        objects,
        1 << 20,
        (7, digests[1]),
        have=(Held(digest_of(b"held"), 1000, "01M7ZQEJKVBHWZASY02FSYWH07"),),
        parity=group_parts(1, Fraction(1)),
    )
    signer = new_signer()
    holds = tuple(Holding(digest, 1000, None) for digest in digests)
    publishers = (PublisherState("ab" * 32, 1, 2, None, 3, "2026-11-21T18:09:00Z"),)
    sets = (CompletedSet("01M7ZQEJKVBHWZASY02FSYWH07", digests[0]),)
    receipt = Receipt(signer.public_key.keyid, signer.public_key, "2026-11-28T18:09:00Z", (7, digests[1]), publishers, sets, None, holds)
    request = RepairRequest(signer.public_key, "01M7ZQEJKVBHWZASY02FSYWH07", "2026-11-28T18:09:00Z", (1, 7, 12))
    return {
        "repair request": request.to_bytes(),
        "receipt": receipt.to_bytes(),
        "receipt file": seal_receipt(sign_receipt(receipt, signer), [STATION.recipient]),
        "set.json": world.folder().joinpath("set.json").read_bytes(),
        "index": index.to_bytes(),
        "statement": statements[0],
        "pins": world.path("out/pins.toml").read_bytes(),
        "gguf": world.path("one.gguf").read_bytes()[:4096],
        "site.pub": world.path("in/site.pub").read_bytes(),
        "view": world.path("in/published/view.json").read_bytes(),
    }


def bend(chance, data):
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.randint(1, 1 + chance.choice([2, 20, 200])))
        match chance.randrange(5):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                data[at:at] = chance.choice(WORDS)
            case _:
                other = chance.randrange(len(data) + 1)
                data[at:end] = data[other : other + end - at]
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_only_a_value_or_our_refusal(serving, name):
    seed = random.SystemRandom().randrange(2**32)
    chance, original, parse = random.Random(seed), originals(serving)[name], PARSERS[name]
    tried = refused = 0
    began = time.process_time()
    while time.process_time() - began < SECONDS:
        data = bend(chance, original)
        tried += 1
        try:
            assert parse(data), f"seed {seed}: accepted, but written again it is something else: {data!r}"
        except AirlockError:
            refused += 1
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"seed {seed}, try {tried}: {type(error).__name__} for {data!r}") from error
    assert tried > refused > 0 or refused == tried > 100
