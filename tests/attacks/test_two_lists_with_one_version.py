"""Two different lists under one version number: somebody signs a second history."""


def test_refused(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    release = station.release(model)
    station.make_set("new", [release], model.objects)
    offered.ok("in", "import", "new")
    station.make_set(
        "evil", [release], model.objects, metadata=station.metadata([*station.statements, release.to_bytes()], versions={"targets": 7000})
    )
    problem = refuses(offered, "evil", code=3, error="two different lists with the version number", hint="airlock log")
    assert "signed twice with one number" in problem["why"]
