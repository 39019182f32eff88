"""Chat templates: those that models are published with pass, and no way to Python's internals does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import scan_file

HONEST = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "templates").glob("*.jinja"))}
"""Written in the manner of those that models are published with."""

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages['__class__'] }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ messages | selectattr('__class__') | list }}",
    "{% set x = messages._private %}",
    "{{ self.__init__ }}",
    "{{ messages['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{% if x is defined %}{{ ''['__cla' 'ss__'] }}{% endif %}",
    "{{ dict(__class__=1) }}",
    "{% macro a(b) %}{{ b.__globals__ }}{% endmacro %}",
    "{{ x.y.z.gi_frame.f_back.__builtins__ }}",
    "{{ lipsum | attr(messages[0]['content']) }}",
    "{% set name = messages[0]['content'] %}{{ lipsum[name] }}",
    "{{ ([cycler] | map(attribute='__init__.__globals__.os') | first).system('id') }}",
    "{{ ([lipsum] | groupby('__globals__.os'))[0].grouper }}",
    "{{ messages[0].content.system('id') }}",
    "{{ (joiner | attr('X' | replace('X', messages[0]['content']))) }}",
]

SUSPICIOUS = [
    "{{ messages | attr('role') }}",
    "{{ messages['_' ~ '_class_' ~ '_'] }}",
    "{% set u = '_' %}{{ messages[u] }}",
    "{{ ''['cla'.join(['x','y'])] }}",
    "{% set k = 'cla' ~ 'ss' %}{{ messages[k] }}",
    "{% set ns = namespace() %}{% set ns.k = 'a' + 'b' %}{{ messages[ns.k] }}",
    "{% set k %}a{{ 'b' }}{% endset %}{{ messages[k] }}",
    "{% macro f(k) %}{{ messages[k] }}{% endmacro %}{{ f('a' ~ 'b') }}",
    "{% with k = 'a' ~ 'b' %}{{ messages[k] }}{% endwith %}",
    "{% for k in ['a' ~ 'b'] %}{{ messages[k] }}{% endfor %}",
    "{% set d = [] %}{% set x = d.append('a' ~ 'b') %}{{ messages[d[0]] }}",
    "{% set d = {} %}{% set x = d.update({'a': 'b' ~ 'c'}) %}{{ messages[d.a] }}",
    "{{ messages['%c%c' % (95, 95)] }}",
    "{{ '%s' % messages }}",
    "{{ '{0.x}'.format(messages) }}",
    "{{ messages['{}'.format('a')] }}",
    "{{ 'a' | format(1) }}",
    "{{ lipsum(5) }}",
    "{{ cycler('a').next() }}",
    "{{ joiner(', ')() }}",
    "{{ self.body() }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% call(x) f() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% block a %}{% endblock %}",
    "{{ messages | map('attr', 'x') }}",
    "{{ messages | map(x) }}",
    "{{ messages | pprint }}",
    "{{ messages | xmlattr }}",
    "{{ messages is callable }}",
    "{{ messages[0]()() }}",
    "{{ messages.anything() }}",
    "{{ unknown_function(1) }}",
    "{{ f(*messages) }}",
    "{% for i in range(1000000000) %}{% endfor %}",
    "{% for i in range(9999 * 9999) %}{% endfor %}",
    "{{ 'a' * 1000000000 }}",
    "{{ 2 ** 9999 }}",
    "{% set s = 'a' %}{% for i in range(60) %}{% set s = s ~ s %}{% endfor %}",
    "{{ varargs }}",
    "{% do messages.append(1) %}",
    "{{ unclosed",
    "{% if %}",
]


def scan_template(template: str, tmp_path: Path) -> tuple[ScanVerdict, list[str]]:
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({"chat_template": template}))
    report = scan_file(path)
    return report.verdict, [finding.message for finding in report.findings]


def test_there_are_templates_of_many_kinds() -> None:
    assert len(HONEST) >= 10


@pytest.mark.parametrize("name", HONEST)
def test_template_of_a_published_kind_is_clean(name: str, tmp_path: Path) -> None:
    assert scan_template(HONEST[name], tmp_path) == (ScanVerdict.CLEAN, [])


@pytest.mark.parametrize("template", ESCAPES)
def test_way_to_internals_is_malicious(template: str, tmp_path: Path) -> None:
    assert scan_template(template, tmp_path)[0] is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("template", SUSPICIOUS)
def test_what_no_chat_template_needs_is_not_clean(template: str, tmp_path: Path) -> None:
    assert scan_template(template, tmp_path)[0] is ScanVerdict.UNKNOWN


DEEP = {
    "parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "attributes": "{{ messages" + ".a" * 50_000 + " }}",
    "sums": "{{ 1" + " + 1" * 50_000 + " }}",
    "negations": "{{ " + "not " * 50_000 + "1 }}",
    "lists": "{{ " + "[" * 50_000 + "]" * 50_000 + " }}",
    "blocks": "{% if a %}" * 20_000,
    "long": "{{ a }}" * 100_000,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_or_long_template_ends_and_is_not_clean(name: str, tmp_path: Path) -> None:
    assert scan_template(DEEP[name], tmp_path)[0] is ScanVerdict.UNKNOWN


def test_template_in_a_file_of_its_own_is_judged(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(HONEST["documents"])
    assert scan_file(tmp_path / "chat_template.jinja").verdict is ScanVerdict.CLEAN
    (tmp_path / "chat_template.jinja").write_text(HONEST["documents"] + "{{ messages | attr('x') }}")
    assert scan_file(tmp_path / "chat_template.jinja").verdict is ScanVerdict.UNKNOWN
    (tmp_path / "chat_template.jinja").write_text(ESCAPES[0])
    assert scan_file(tmp_path / "chat_template.jinja").verdict is ScanVerdict.MALICIOUS


HIDDEN = [
    "{{ (lipsum|attr('\\x5f\\x5fglobals\\x5f\\x5f'))['o' + 's'] }}",
    "{{ (cycler|attr('\\137\\137init' ~ '\\137\\137')) }}",
    "{{ '}}' ~ lipsum.__globals__ }}",
    "{# }} #}{{ '}}' ~ cycler['\\x5f\\x5finit\\x5f\\x5f'] }}",
    "{{ lipsum|attr('\\N{LOW LINE}' * 2 ~ 'globals') }}",
    "{% do 1 %}{{ lipsum|attr('x') }}",
    "```\n```\n{% set x = 1 %}{{ lipsum|attr('x') }}",
    "a" * 300_000 + "{{ lipsum|attr('x') }}",
]
COMPUTED = [
    "{{ messages | groupby('ro' ~ 'le') }}",
    "{% set d = [] %}{% set x = d.append('a' ~ 'b') %}{{ messages[d[0]] }}",
    "{% set k = 'a' ~ 'b' %}{{ messages[k] }}",
]
PLACES: Mapping[str, Callable[[str], str]] = {
    "chat_template.jinja": lambda text: text,
    "named.json": lambda text: json.dumps({"chat_template": {"default": text}}),
    "other.json": lambda text: json.dumps({"system_prompt": text}),
    "prompt.yaml": lambda text: "prompt: |\n" + "".join(f"  {line}\n" for line in text.splitlines()),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("template", HIDDEN, ids=range(len(HIDDEN)))
def test_way_to_internals_is_malicious_wherever_a_template_may_stand(template: str, place: str, tmp_path: Path) -> None:
    """Text that may be a template or only look like one was searched by an expression, which all of these passed."""
    (tmp_path / place).write_text(PLACES[place](template))
    assert scan_file(tmp_path / place).verdict is ScanVerdict.MALICIOUS


def test_offset_of_an_escape_is_one_of_the_text_of_the_file(tmp_path: Path) -> None:
    for text, offset in (("Words {{ x.__class__ }}", 10), ("\\x41 {{ x.__class__ }} ```{% x", None)):
        (tmp_path / "a.md").write_text(text)
        found = [one.offset for one in scan_file(tmp_path / "a.md").findings if "uses" in one.message]
        assert found == [offset]


@pytest.mark.parametrize("template", COMPUTED)
def test_name_that_is_put_together_is_not_clean_wherever_it_stands(template: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"system_prompt": template}))
    assert scan_file(tmp_path / "other.json").verdict is ScanVerdict.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "Write {{ text }} in {{lang}}, and `obj.__class__` for }}.\n",
        "@misc{a, title={{A Model}}, year={{2024}}} and `{{ x['y'] }}`\n",
        "{{#if a}}{{> part}}{{/if}} [link](x) {{ .System }}\n",
        "Say `{{ messages[0]['content'] }}`, `{{ x | join(', ') }}` or `{{ users | map(attribute='name') }}`.\n",
    ],
)
def test_brackets_in_text_for_people_are_clean(text: str, tmp_path: Path) -> None:
    for name, content in (("a.md", text), ("a.json", json.dumps({"text": text}))):
        (tmp_path / name).write_text(content)
        assert scan_file(tmp_path / name).verdict is ScanVerdict.CLEAN
