"""Modelfiles: the model that ``ollama create`` would make of a GGUF file with a template, a system text, parameters, licences.

The layers, the config and their bytes are those of ``ollama create`` **0.9.3** (``server/create.go``, ``api/types.go``) for a Modelfile that says
the same.  Three differences remain, all on purpose:

- ``create`` writes into the local manifest where the GGUF lies on that machine (``"from":"/…/blobs/sha256-…"``).  A path of the publishing
  station has no business in a release; the member is left out, so the *manifest's* digest differs although every blob's is equal.
- ``create`` ends the manifest file with a newline; canonical bytes have none.
- ``create`` guesses: when the GGUF's ``tokenizer.chat_template`` resembles one it knows, it adds that template and its ``stop`` parameters, the
  latter even if the Modelfile states a template.  Airlock never guesses.  The results are equal when nothing is guessed (no
  ``tokenizer.chat_template``, or none that 0.9.3 knows), and when the Modelfile states the template and, if the guess has any, ``stop``.

A Modelfile can say less than a file: its parser drops characters that can't be printed and ends a text at the first ``\"\"\"`` before a line's
end.  The texts here are taken byte for byte, as Ollama's ``/api/create`` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.content.config import ModelConfig
from registry.content.digest import Digest, digest_of
from registry.content.gguf import GgufHeader
from registry.content.gojson import encode
from registry.content.gotemplate import check_template
from registry.content.manifest import CONFIG_TYPE, Descriptor, Manifest
from registry.content.parameters import Parameters
from registry.content.text import parse_text
from registry.errors import FormatRefused

__all__ = ["MODEL_TYPE", "Composed", "compose", "human_number"]

MODEL_TYPE = "application/vnd.ollama.image.model"

# FileType.String in fs/ggml/type.go; 0 (F32) counts as absent there, whatever is missing is "unknown".
# fmt: off
_FILE_TYPES = {
    1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
    14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 21: "Q2_K_S", 32: "BF16",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Composed:
    """A manifest, and the bytes of all its blobs but the model itself: the config and the small layers, by digest."""

    manifest: Manifest
    small: Mapping[Digest, bytes]


def compose(
    model: Descriptor,
    header: GgufHeader,
    *,
    template: bytes | None = None,
    system: bytes | None = None,
    parameters: Parameters | None = None,
    licenses: Sequence[bytes] = (),
) -> Composed:
    """Return the model that ``ollama create`` 0.9.3 would make.

    Args:
        model: the GGUF file as a layer of type :data:`MODEL_TYPE`.
        header: what :func:`registry.content.gguf.parse_gguf` found in it.
        template: a Go template; only its balance is checked (:mod:`registry.content.gotemplate`).
        system: a text.
        parameters: from :func:`registry.content.parameters.parse_parameters`.
        licenses: texts, in the order in which they are shown.

    Raises:
        FormatRefused: a file that is an adapter, a projector or one of several shards; a text that is empty, too long or not UTF-8; a
            template that is not balanced.
    """
    _check_is_model(header)
    texts = [("template", template), ("system", system), *(("license", data) for data in licenses)]
    parts = [(kind, parse_text(data, what=kind).encode("utf-8")) for kind, data in texts if data is not None]
    if template is not None:
        check_template(template.decode("utf-8"))
    if parameters:
        parts.append(("params", encode(dict(sorted(parameters.items())))))
    layers = [model, *(Descriptor(f"application/vnd.ollama.image.{kind}", digest_of(data), len(data)) for kind, data in parts)]
    family = header.architecture
    about = ModelConfig("gguf", family, (family,), human_number(header.parameter_count), _FILE_TYPES.get(header.file_type or 0, "unknown"))
    config = about.to_bytes([layer.digest for layer in layers])
    manifest = Manifest(Descriptor(CONFIG_TYPE, digest_of(config), len(config)), tuple(layers))
    return Composed(manifest, {digest_of(data): data for data in (*(data for _, data in parts), config)})


def human_number(count: int) -> str:
    """Return a number of parameters as Ollama shows it, such as ``268.10M`` (``HumanNumber`` in ``format/format.go``)."""
    for unit, letter, decimals in ((10**9, "B", 1), (10**6, "M", 2)):
        if count >= unit:
            number = count / unit
            return f"{number:.{0 if number.is_integer() else decimals}f}{letter}"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


def _check_is_model(header: GgufHeader) -> None:
    # The cases of ggufLayers in server/create.go.
    hint = "make the model with ollama create, then pin it with --from ollama-store:NAME"
    if header.kind == "adapter":
        why = "it is an adapter, which needs the model it was made for"
    elif header.kind == "projector" or (header.block_count == 0 and header.vision_block_count > 0):
        why = "it is a projector, which needs the model it was made for"
    elif header.shards > 1:
        why = f"it is one of {header.shards} files that the model is split over"
        hint = "join them with llama-gguf-split --merge"
    else:
        return
    raise FormatRefused("the GGUF file is no model of its own", why=why, hint=hint)
