"""registry.content.gotemplate: what can't be a Go template."""

import pytest

from registry.content.gotemplate import check_template
from registry.errors import FormatRefused


@pytest.mark.parametrize(
    "text",
    [
        "no action at all, not even }}",
        "{{ .Prompt }}",
        "{{- .Prompt -}}",
        '{{ if eq .Role "}}" }}a{{ else if `{{ }}` }}b{{ else }}c{{ end }}',
        "{{ printf \"%q\" '\\'' }}",
        '{{/* a comment with {{ and " */}}{{- /* another */ -}}',
        "{{- range $i, $m := .Messages }}{{- with $m }}{{ .Content }}{{- end }}{{- end }}",
        '{{ define "x" }}{{ endless }}{{ end }}{{ block "y" . }}{{ end }}{{ template "x" }}',
        "{{-3}}",
        "{{ if\n.System }}{{ .System }}{{\nend\n}}",
    ],
)
def test_sound_templates(text):
    check_template(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ .Prompt", "does not end with }}"),
        ("a\n\n{{ .Prompt }", "line 3: "),
        ('{{ "open }}', "does not end"),
        ("{{ `open }}", "does not end"),
        ('{{ "a\nb" }}', "does not end"),
        ("{{/* open }}", "does not end"),
        ("{{}}", "says nothing"),
        ("{{- -}}", "says nothing"),
        ("{{ if .A }}", "1 blocks"),
        ("{{ range .A }}{{ with .B }}{{ end }}", "1 blocks"),
        ("{{ if .A }}{{ end }}{{ end }}", "ends nothing"),
    ],
)
def test_refusals(text, why):
    with pytest.raises(FormatRefused, match="template: not a Go template") as caught:
        check_template(text)
    assert why in caught.value.why


def test_a_megabyte_of_braces_is_refused_at_once():
    with pytest.raises(FormatRefused):
        check_template("{{" * 2**19)
    check_template("{{ . }}\n" * 2**17)
