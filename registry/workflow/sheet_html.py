"""The transfer sheet as a page of A4: one HTML file that loads nothing, runs nothing, prints in black on white."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

import segno

from registry.workflow.sheet import COMMANDS, CUSTODY_LINES, NOT_READ_BACK, OUT_OF_BAND, Sheet, checking, facts, finding, fingerprint_lines

__all__ = ["render_html"]

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Transfer sheet $title</title>
<style>
  @page { size: A4; margin: 13mm 14mm; }
  * { box-sizing: border-box; }
  body { margin: 0; background: #e8e8e6; color: #111; font: 9.5pt/1.4 "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
  main { max-width: 210mm; margin: 8mm auto; padding: 13mm 14mm; background: #fff; box-shadow: 0 1px 6px #0003; }
  header { display: flex; justify-content: space-between; align-items: flex-end; border-bottom: 2.5pt solid #111; padding-bottom: 3mm; }
  h1 { margin: 0; font-size: 10pt; font-weight: 600; letter-spacing: .14em; text-transform: uppercase; }
  h2 { margin: 0 0 1.2mm; font-size: 8pt; letter-spacing: .12em; text-transform: uppercase; }
  p { margin: 0; }
  code { font: .94em "DejaVu Sans Mono", "Liberation Mono", Consolas, monospace; white-space: nowrap; }
  .label { font: 700 25pt/1.05 "DejaVu Sans Mono", "Liberation Mono", Consolas, monospace; letter-spacing: -.02em; }
  .place { font-size: 15pt; font-weight: 600; }
  .alarm { margin-top: 4mm; padding: 2.4mm 4mm; border: 2.5pt solid #111; font-weight: 700; font-size: 11pt; }
  .known { display: flex; gap: 8mm; margin: 5mm 0; }
  dl { flex: 1; display: grid; grid-template-columns: 24mm 1fr; gap: 1.5mm 2mm; margin: 0; align-content: start; }
  dt { color: #444; }
  dd { margin: 0; overflow-wrap: anywhere; }
  .mono { font-family: "DejaVu Sans Mono", "Liberation Mono", Consolas, monospace; font-size: 8.2pt; }
  .blank { border-bottom: .6pt solid #111; min-height: 5mm; max-width: 70mm; }
  figure { margin: 0; text-align: center; }
  figure svg { display: block; width: 33mm; height: 33mm; }
  figcaption { font-size: 7.5pt; color: #444; }
  .fingerprint { display: flex; gap: 6mm; align-items: center; border: .8pt solid #111; padding: 2mm 4mm 2mm 1mm; }
  .fingerprint .mono { font-size: 11.5pt; line-height: 1.5; white-space: nowrap; margin-bottom: 1.5mm; }
  .custody { margin: 5mm 0; }
  table { width: 100%; border-collapse: collapse; table-layout: fixed; }
  th { text-align: left; font-weight: 400; font-size: 8pt; color: #444; padding: 0 0 1mm 1mm; }
  td { border: .6pt solid #111; height: 11mm; }
  th:first-child { width: 26mm; }
  footer { display: flex; gap: 8mm; font-size: 8.6pt; }
  footer section { flex: 1; }
  @media print {
    body { background: none; }
    main { margin: 0; padding: 0; max-width: none; box-shadow: none; }
    main + main { break-before: page; }
  }
</style>
</head>
<body>
$sheets
</body>
</html>
""")

_SHEET = Template("""\
<main>
<header>
  <div><h1>airlock transfer sheet</h1><p class="label">$label</p></div>
  <p class="place">$place</p>
</header>
$alarm<div class="known">
<dl>
$facts
</dl>
<figure>$set_code<figcaption>the set's id</figcaption></figure>
</div>
<section class="fingerprint">
<figure>$fingerprint_code<figcaption>the fingerprint</figcaption></figure>
<div><h2>Fingerprint of the publisher</h2>
<p class="mono">$fingerprint</p>
<p>$out_of_band</p></div>
</section>
<section class="custody">
<h2>Custody</h2>
<table>
<thead><tr><th scope="col">date</th><th scope="col">handed over by</th><th scope="col">received by</th><th scope="col">signature</th></tr></thead>
<tbody>
$lines
</tbody>
</table>
</section>
<footer>
<section><h2>Check it without a key</h2><p>$checking</p></section>
<section><h2>Found it?</h2><p>$found</p></section>
</footer>
</main>""")

_CUSTODY_LINE = "<tr><td></td><td></td><td></td><td></td></tr>"


def render_html(sheets: Sequence[Sheet]) -> str:
    """Return one document with a page for each sheet."""
    title = escape(", ".join(dict.fromkeys(each.label for each in sheets)))
    return _PAGE.substitute(title=title, sheets="\n".join(map(_sheet, sheets)))


def _sheet(sheet: Sheet) -> str:
    return _SHEET.substitute(
        label=escape(sheet.label),
        place=escape(sheet.place),
        alarm="" if sheet.read_back else f'<p class="alarm" role="alert">{escape(NOT_READ_BACK)}</p>\n',
        facts="\n".join(_fact(word, value) for word, value in facts(sheet) if word != "label"),
        set_code=_code(sheet.set_id, "set id"),
        fingerprint_code=_code(sheet.fingerprint, "fingerprint of the publisher"),
        fingerprint="<br>".join(map(escape, fingerprint_lines(sheet))),
        out_of_band=escape(OUT_OF_BAND),
        lines="\n".join([_CUSTODY_LINE] * CUSTODY_LINES),
        checking=_with_code(checking(sheet)),
        found=escape(finding(sheet)),
    )


def _fact(word: str, value: str) -> str:
    kind = "blank" if not value else "" if " " in value else "mono"
    return f'<dt>{escape(word)}</dt><dd class="{kind}">{escape(value)}</dd>'


def _with_code(text: str) -> str:
    marked = escape(text)
    for command in COMMANDS:
        marked = marked.replace(command, f"<code>{command}</code>")
    return marked


def _code(text: str, what: str) -> str:
    """Return a QR code as SVG; the level of correction survives a crease in the paper."""
    svg = segno.make(text, error="q", micro=False).svg_inline(border=4, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None)
    return svg.replace("<svg ", f'<svg role="img" aria-label="QR code of the {escape(what)}, {escape(text)}" ', 1)
