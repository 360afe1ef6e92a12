"""Go templates: whether a text can be one.

Ollama parses templates with Go's ``text/template``.  That grammar is not repeated here: only what a cut or mixed-up file gets wrong is found
(actions that do not end, strings that do not close, blocks without ``end``), by the rules of ``text/template/parse/lex.go``.
"""

from __future__ import annotations

import re

from registry.errors import FormatRefused

__all__ = ["check_template"]

_SPACE = r"[ \t\r\n]"
_COMMENT = re.compile(rf"\{{\{{(?:-{_SPACE})?/\*.*?\*/(?:{_SPACE}-)?\}}\}}", re.DOTALL)
_ACTION = re.compile(
    r"""\{\{(?!(?:-[ \t\r\n])?/\*)(?:-(?=[ \t\r\n]))?"""
    r"""(?P<body>(?:"(?:\\.|[^"\\\n])*+"|`[^`]*+`|'(?:\\.|[^'\\\n])*+'|(?!\}\})[^"`'])*+)\}\}"""
)
_WORD = re.compile(rf"{_SPACE}*([a-z]+)\b")


def check_template(text: str, *, what: str = "template") -> None:
    """Refuse what can't be a Go template.

    Raises:
        FormatRefused: an action that does not end or is empty, blocks and ``end`` that do not match.
    """
    depth = at = 0
    while (at := text.find("{{", at)) >= 0:
        match = _COMMENT.match(text, at) or _ACTION.match(text, at)
        if match is None:
            raise _refusal(what, text, at, f"{text[at : at + 40]!r} does not end with }}}}")
        if match.re is _ACTION:
            if match["body"].strip() in ("", "-"):
                raise _refusal(what, text, at, f"{match[0]!r} says nothing")
            word = _WORD.match(match["body"])
            depth += {"if": 1, "range": 1, "with": 1, "block": 1, "define": 1, "end": -1}.get(word[1], 0) if word else 0
            if depth < 0:
                raise _refusal(what, text, at, f"{match[0]!r} ends nothing")
        at = match.end()
    if depth:
        raise _refusal(what, text, len(text), f"{depth} blocks (if, range, with, block, define) lack {{{{ end }}}}")


def _refusal(what: str, text: str, at: int, why: str) -> FormatRefused:
    return FormatRefused(f"{what}: not a Go template", why=f"line {text.count(chr(10), 0, at) + 1}: {why}")
