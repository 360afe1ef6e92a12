"""A set is not waited for any more once every release in it came with another one."""

from registry.workflow.arrivals import Arrivals, Expected


def wait_for(world, set_id, *releases):
    """Record a set that waits for its second part and has a parity part here; return the record."""
    [publisher] = {event["subject"]["publisher"] for event in world.events() if event["verb"] == "trust.add"}
    record = Arrivals(world.path("in/incoming"), set_id)
    record.expect(Expected(set_id, publisher, 2, 1, releases, (2,), {}))
    record.parity_file(3).write_bytes(b"parity")
    return record


def waiting(world):
    return [each["set"] for each in world.ok("in", "import", "--status", "--json").json["sets"]]


def test_what_is_here_is_forgotten(imported):
    """The one that still has something to bring goes on waiting."""
    overtaken, wanted = "01JD0000000000000000000001", "01JD0000000000000000000002"
    wait_for(imported, overtaken, "library/tiny:1b-r1", "library/tiny:2b-r2")
    wait_for(imported, wanted, "library/tiny:1b-r1", "library/tiny:1b-r9")
    assert waiting(imported) == [wanted, overtaken]
    imported.ok("in", "import", "usb")
    assert waiting(imported) == [wanted]
    assert sorted(path.name for path in imported.path("in/incoming").iterdir()) == [f"{wanted}.arrivals", f"{wanted}.parity-3"]
