"""A set for another site: its contents are none of our business, and importing it here was never meant."""

import json


def test_sealed_to_others(offered, refuses):
    offered.ok("in", "--home", "second", "site", "init")
    offered.export("other", recipients=["second/site.pub"])
    refuses(
        offered,
        "other",
        code=3,
        error="sealed to others, not to this site",
        why="this site's recipient key is [0-9a-f]{8}, the set is sealed to",
        hint="give the publisher this site's site.pub",
        commits_metadata=True,
    )


def test_sealed_to_us_but_not_meant_for_us(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    station.make_set("evil", [station.release(model)], model.objects, sites=["0" * 64])
    refuses(offered, "evil", code=3, error="not meant for this site", why="this site is [0-9a-f]{8}", commits_metadata=True)


def test_statement_not_meant_for_us(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    station.make_set("evil", [station.release(model, sites=("0" * 64,))], model.objects)
    refuses(offered, "evil", code=3, error="library/forged:1b-r1: not meant for this site", commits_metadata=True)


def test_wrapped_key_of_somebody_else(offered, refuses):
    """The key that was wrapped for the station stands under our key id."""
    path = offered.folder("stick") / "set.json"
    header = json.loads(path.read_bytes())
    [first, second] = header["keys"]
    header["keys"] = {first: header["keys"][second], second: header["keys"][first]}
    path.write_bytes(json.dumps(header, separators=(",", ":"), sort_keys=True).encode())
    refuses(offered, "stick", code=3, error="its key can't be opened", hint="ask the publisher for a fresh export", commits_metadata=True)
