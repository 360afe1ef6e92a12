"""The two notes on a medium that are for people and machines without a key: ``README.txt`` and ``medium.json``.  Nobody trusts them."""

from __future__ import annotations

from registry.content import canonical
from registry.media.index import Index
from registry.media.sets import part_name

__all__ = ["medium_json", "readme"]


def medium_json(index: Index) -> bytes:
    """Return the hint which parts this medium carries."""
    parts = [part_name(number) for number in range(1, index.parts + 1)]
    return canonical.dump({"v": 1, "set": index.set_id, "medium": 1, "media": 1, "parts": parts})


def readme(index: Index) -> bytes:
    """Return the text for whoever finds the medium."""
    text = f"""\
This folder is one airlock set: AI model files, signed by their publisher and
encrypted for the sites that may open them.  Without a site's key nothing in
it can be read.  It contains no program and starts nothing by itself.

    set        {index.set_id}
    made       {index.created}
    parts      {index.parts} (folder "parts")
    publisher  {index.publisher}

Found it?  Please hand it to the IT or information security department of the
organisation you found it in.

Carrying it?  Copy the folder as a whole, with its sub-folders.  To check that
it arrived whole, without any key, run inside this folder:

    sha256sum -c SHA256SUMS

Importing it?  On the site registry, with this folder's medium mounted:

    airlock import MEDIUM

The first time, the publisher is trusted by the fingerprint that its people
read out on the phone.  Never take the fingerprint from the medium itself:

    airlock trust add MEDIUM --fingerprint ...

By hand: everything under "metadata" is TUF metadata, JSON that
"jq" shows; 1.root.json names the keys.  The sealed files are Google Tink
streaming AEAD (AES256_GCM_HKDF_1MB), their key is wrapped in set.json
with HPKE (RFC 9180).
"""
    # No fingerprint in here, on purpose: one that comes with the medium proves nothing.
    return text.replace("\n", "\r\n").encode("ascii")
