"""A station gone bad: it has the real keys and signs and seals whatever it is told to."""

import dataclasses
import io
import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.content.digest import digest_of
from registry.content.manifest import CONFIG_TYPE, MANIFEST_TYPE, Descriptor, Manifest
from registry.content.modelfile import MODEL_TYPE
from registry.content.reference import parse_reference
from registry.media.index import Index, Object, parse_index
from registry.media.receipt_file import seal_receipt
from registry.media.recipients import unwrap, wrap
from registry.media.sets import Header, metadata_names, new_set_id, parse_header
from registry.media.stream import associated_data, open_bytes, seal_bytes
from registry.store.home import Home
from registry.store.medium import SetWriter
from registry.trust.envelope import INDEX_TYPE, envelop, open_envelope
from registry.trust.receipt import sign_receipt
from registry.trust.refresh import OfferedMetadata
from registry.trust.roles import RoleKeys, new_root, new_snapshot, new_targets, new_timestamp
from registry.trust.statement import Release
from registry.workflow.actor import Credentials
from registry.workflow.publication import newest_metadata
from registry.workflow.receipt import _state
from registry.workflow.site import open_site
from registry.workflow.site_card import parse_site_card
from registry.workflow.station import open_station
from registry.workflow.stations import stations_of

PART = 1 << 20


@dataclass(frozen=True)
class Model:
    """A model as bytes: its manifest, and its blobs by digest."""

    manifest: bytes
    blobs: dict

    @property
    def objects(self):
        """Digest to bytes, the manifest first."""
        return {digest_of(self.manifest): self.manifest, **self.blobs}


def _model(weights, config=None):
    model = Descriptor(MODEL_TYPE, digest_of(weights), len(weights))
    config = config or json.dumps({"model_format": "gguf", "rootfs": {"type": "layers", "diff_ids": [model.digest]}}).encode()
    manifest = Manifest(Descriptor(CONFIG_TYPE, digest_of(config), len(config)), (model,)).to_bytes()
    return Model(manifest, {model.digest: weights, digest_of(config): config})


class Forge:
    """The station of a world, free to lie.  ``keys`` are its signing keys, ``now`` the time it signs with."""

    def __init__(self, world, home="out"):
        self.world = world
        self.now = datetime.now(UTC)
        with open_station(Home(world.path(home)), lambda: world.passphrase, "forge") as station:
            self.keys, self.identity, self.roots = station.keys, station.identity, station.log.roots()
            self.newest = newest_metadata(station)
            self.statements = [station.log.document(each.statement) for each in station.log.releases()]
            self.version = station.log.metadata("timestamp")[0] if self.newest else 0
        self.card = parse_site_card(world.path("in/site.pub").read_bytes(), what="site.pub")

    @property
    def publisher(self):
        """The publisher id."""
        return self.newest.publisher

    def weights(self, seed):
        """The bytes of a tiny GGUF file."""
        self.world.model("forged.gguf", seed)
        return self.world.path("forged.gguf").read_bytes()

    def model(self, seed=7, config=None, weights=None):
        """A model that nobody pinned."""
        return _model(weights or self.weights(seed), config)

    def release(self, model, name="forged:1b", number=1, **changes):
        """The statement that this model is this name."""
        manifest = Manifest(*_parts_of(model.manifest))
        objects = (Descriptor(MANIFEST_TYPE, digest_of(model.manifest), len(model.manifest)), *manifest.blobs)
        release = Release(self.publisher, parse_reference(name), number, secrets.token_hex(32), objects, "file:forged.gguf")
        return dataclasses.replace(release, **changes)

    def metadata(self, statements, *, versions=None, signers=None, roots=None, now=None):
        """Metadata that list ``statements``; ``versions`` and ``signers`` by role, where they aren't the next and the right ones."""
        version = {"targets": self.version + 100, "snapshot": self.version + 100, "timestamp": self.version + 100, **(versions or {})}
        signer = {"targets": self.keys["release"], "snapshot": self.keys["station"], "timestamp": self.keys["station"], **(signers or {})}
        now = now or self.now
        targets = new_targets(version["targets"], {digest_of(each): len(each) for each in statements}, [signer["targets"]], now)
        snapshot = new_snapshot(version["snapshot"], targets, [signer["snapshot"]], now)
        timestamp = new_timestamp(version["timestamp"], snapshot, [signer["timestamp"]], now)
        return OfferedMetadata(roots or self.roots, timestamp, snapshot, targets)

    def root(self, version, signers=None, **roles):
        """A root with other keys for some roles (lists of signers by role); signed by the root key."""
        keys = {"root": ["root"], "targets": ["release"], "snapshot": ["station"], "timestamp": ["station"]}
        held = {role: RoleKeys([each.public_key for each in roles.get(role, [self.keys[name] for name in names])]) for role, names in keys.items()}
        return new_root(version, held, signers or [self.keys["root"]], self.now)

    def make_set(self, medium, releases, objects, *, metadata=None, sites=None, cards=None, signer=None, change=lambda index: index, set_id=None):
        """Write a whole set; ``releases`` are :class:`Release` values or statements' bytes, ``objects`` digest to bytes.

        ``change`` may replace the index before it is signed.  Returns the set's folder.
        """
        statements = [each if isinstance(each, bytes) else each.to_bytes() for each in releases]
        metadata = metadata or self.metadata([*self.statements, *statements])
        set_id = set_id or new_set_id(int(self.now.timestamp() * 1000), secrets.token_bytes(10))
        set_key = secrets.token_bytes(32)
        recipients = [each.recipient for each in (cards or [self.card])] + [self.identity.recipient]
        header = Header(set_id, {each.key_id: wrap(set_key, each, set_id=set_id) for each in recipients}).to_bytes()
        laid, offset = [], 0
        for digest, data in objects.items():
            laid.append(Object(digest, offset, len(data)))
            offset += len(data)
        index = Index(
            set_id,
            digest_of(header),
            "2026-11-21T18:09:00Z",
            metadata.publisher,
            len(metadata.roots),
            tuple(sites or [self.card.site]),
            tuple(statements),
            tuple(laid),
            PART,
            (1, digest_of(b"")),
        )
        index = change(index)
        self.world.path(medium).mkdir(exist_ok=True)
        sealed = _seal(envelop(index.to_bytes(), INDEX_TYPE, [signer or self.keys["station"]]), set_key, set_id, "index", 0)
        writer = SetWriter(self.world.path(medium), set_id)
        writer.begin({"set.json": header, "index.sealed": sealed, **_files(metadata)})
        stream = b"".join(objects.values())
        for number in range(1, -(-len(stream) // PART) + 1):
            part = _seal(stream[(number - 1) * PART : number * PART], set_key, set_id, "part", number)
            (writer.path / f"parts/{number:08d}.sealed").write_bytes(part)
        return writer.path

    def open_set(self, folder):
        """The header, set key and index of a set this station wrote."""
        header = parse_header((folder / "set.json").read_bytes(), what="set.json")
        set_key = unwrap(header.keys[self.identity.recipient.key_id], self.identity, set_id=header.set_id)
        sealed = (folder / "index.sealed").read_bytes()
        ad = associated_data(header.set_id, "index", 0)
        envelope = open_bytes(io.BytesIO(sealed), len(sealed), set_key, ad, what="index", limit=1 << 24)
        payload = open_envelope(envelope, INDEX_TYPE, [self.keys["station"].public_key], 1, what="index", limit=1 << 24).payload
        return header, set_key, parse_index(payload, what="index")

    def reseal(self, folder, set_key, index, signer, role="index", payload_type=INDEX_TYPE):
        """Replace the index of a set, sealed with the right key, signed by ``signer``."""
        envelope = envelop(index.to_bytes(), payload_type, [signer] if signer else [])
        (folder / "index.sealed").write_bytes(_seal(envelope, set_key, folder.name, role, 0))

    def put_metadata(self, folder, metadata):
        """Replace a set's metadata files."""
        for name, data in _files(metadata).items():
            (folder / name).write_bytes(data)


class ReceiptForge:
    """A site of a world, free to lie: signs any receipt with its real key, or with another, and seals it to whom it likes."""

    def __init__(self, world, home="in"):
        self.world = world
        with open_site(Home(world.path(home)), Credentials(lambda: world.passphrase), "forge", unlock=True) as site:
            self.key, self.stations = site.keys["receipt"], list(stations_of(site.log).values())
            self.receipt, _ = _state(site, datetime.now(UTC))

    def write(self, name, receipt=None, *, key=None, stations=None):
        """Write a receipt file below the world; return its name."""
        envelope = sign_receipt(receipt or self.receipt, key or self.key)
        self.world.path(name).write_bytes(seal_receipt(envelope, stations or self.stations))
        return name


def _files(metadata):
    rest = (metadata.timestamp, metadata.snapshot, metadata.targets)
    return dict(zip(metadata_names(len(metadata.roots)), (*metadata.roots, *rest), strict=True))


def _seal(data, set_key, set_id, role, number):
    sink = io.BytesIO()
    seal_bytes(sink, data, set_key, associated_data(set_id, role, number))
    return sink.getvalue()


def _parts_of(manifest):
    def descriptor(value):
        return Descriptor(value["mediaType"], value["digest"], value["size"])

    document = json.loads(manifest)
    return descriptor(document["config"]), tuple(map(descriptor, document["layers"]))


def _hit(pattern, text):
    return re.search(pattern, text, re.MULTILINE)


@pytest.fixture
def forge():
    """Return a function: world to the forge that has its station's keys."""
    return Forge


@pytest.fixture
def receipt_forge():
    """Return a function: world to the forge that has its site's keys."""
    return ReceiptForge


@pytest.fixture
def receipt_refused():
    """Return a function that reads a receipt at the station and expects a refusal that changes nothing."""

    def check(world, *paths, code, error, why="", hint="", command=("receipt",)):
        before = world.events("out")
        done = world.outside(*command, *paths)
        assert (done.code, done.out) == (code, ""), done
        for label, pattern in (("error", error), ("why", why), ("hint", hint)):
            assert _hit(pattern, done.lines[label]), done.lines
        if command == ("receipt",):
            assert done.lines["unchanged"] == "no receipt was put on record"
        assert world.events("out") == before
        return done

    return check


@pytest.fixture
def refuses():
    """Return a function that imports and expects a refusal which changes nothing.

    ``commits_metadata``: newer metadata took effect before the refusal (commit A), which is how it must be.
    ``logged``: the site was open, so the refusal is on record.
    """

    def check(world, *media, code, error, why="", hint="", commits_metadata=False, keeps_blobs=False, logged=True, now=None):
        before, events = world.holdings(), len(world.events())
        if now is None:
            done = world.inside("import", *media)
            problem = done.lines
            assert done.out == ""
            assert problem["unchanged"] == "nothing was imported; what is served has not changed"
            ended = done.code
        else:
            refusal = world.import_at(now, *media)
            problem, ended = {"error": refusal.what, "why": refusal.why, "hint": refusal.hint}, refusal.exit_code
        assert ended == code, problem
        for label, pattern in (("error", error), ("why", why), ("hint", hint)):
            assert _hit(pattern, problem[label]), problem
        assert problem["why"] or problem["hint"], "a refusal says why, or what to do"
        after = world.holdings()
        if commits_metadata:
            states = [holdings["catalog"][0] for holdings in (before, after)]
            assert states[0] == states[1]
            kept = before["blobs"].items() <= after["blobs"].items() if keeps_blobs else before["blobs"] == after["blobs"]
            assert (before["served"], kept) == (after["served"], True)
        else:
            assert before == after
        news = world.events()[events:]
        refusals = [event["subject"]["what"] for event in news if event["verb"] == "set.refuse"]
        assert bool(refusals) == logged
        if logged:
            assert any(_hit(error, what) for what in refusals)
        assert {event["verb"] for event in news} <= {"set.refuse", "medium.read", *(["metadata.accept"] if commits_metadata else [])}
        assert list(Path(world.path("in")).glob("**/.airlock-*")) == []
        return problem

    return check


@pytest.fixture
def now():
    """A whole second, as TUF writes times."""
    return datetime.now(UTC).replace(microsecond=0)
