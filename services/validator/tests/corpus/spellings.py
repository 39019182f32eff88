"""The many ways to write one YAML document: what its tag, its key and its arguments look like, and where they stand.

Each choice is made by a seeded generator, so a document that is found wanting can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

CORE: Final = "tag:yaml.org,2002:"
CALLS: Final = ("os.mknod", "os.open", "builtins.open", "os.system", "builtins.eval")
_ARGUMENTS: Final[dict[str, Callable[[str], list[str]]]] = {
    "os.mknod": lambda marker: [marker],
    "os.open": lambda marker: [marker, "65"],
    "builtins.open": lambda marker: [marker, "w"],
    "os.system": lambda marker: [f"touch {marker}"],
    "builtins.eval": lambda marker: [f"open('{marker}', 'w')"],
}
_BEFORE: Final = (
    *("", "", "# a note: x\n", "\n\n", "a: 1\n---\nb: 2\n...\n", "# x\n---\n# title\n...\n", "plain words\n...\n"),
    *("---\nlicense: mit\n...\n", "tree\nversion=v4\n...\n"),
)
_DIRECTIVES: Final = ("", "", "", "%YAML 1.1\n", "%YAML 1.1\n# note\n", "%ODD x\n")
_AFTER: Final = ("", "", "\n", "\n...\n", "\n---\n# Title\n\nText: more: text\n", "\n...\n}\n", "\n# end")
_ENCODINGS: Final = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16")
_BREAKS: Final = ("\n", "\n", "\n", "\r\n", "\r", "\x85", "\u2028")
_BLANKS: Final = (" ", " ", "  ", "\t", "\n    ", " # note\n    ", "\n\n      ")


def tagged(marker: str, seed: int) -> bytes:
    """A document that calls a function, which makes the file `marker`, if an unsafe loader reads it."""
    chosen = random.Random(seed)
    name = chosen.choice(CALLS)
    suffix = f"python/object/{chosen.choice(('apply', 'new'))}:{name}"
    head, tag = _tag(suffix, chosen)
    node = tag + _arguments(_ARGUMENTS[name](marker), chosen)
    if chosen.random() < 0.2:
        node = f"&anchor{chosen.choice((' ', chr(10) + '    '))}{node}"
    return _written(_begun(head, chosen) + _placed(node, chosen) + chosen.choice(_AFTER), chosen)


def keyed(key: str, value: str, seed: int) -> bytes:
    """A document with a mapping that has that key with that value, if any loader reads it."""
    chosen = random.Random(seed)
    written, worth = _scalar(key, chosen), _scalar(value, chosen)
    pair = chosen.choice(
        (
            f"{written}: {worth}",
            f"? {written}\n    : {worth}",
            f"{{x: 1, {written}: {worth}}}",
            f'{{"x":1,{written} : {worth},}}',
            f"[{written}: {worth}, y]",
            f"{written}: >-\n      {value}",
            f"{written}: &v {worth}",
            f"x: &k {written}\n    *k : {worth}",
            f"? |-\n      {key}\n    : {worth}",
            f"y: &m {{{written}: {worth}}}\n    z: {{<<: *m}}",
            f"{written}: {worth}\n    {written}: harmless",
            f"? {{{written}: {worth}}}\n    : 1",
        )
    )
    return _written(_begun("", chosen) + _placed(f"\n    {pair}", chosen), chosen)


def _begun(head: str, chosen: random.Random) -> str:
    """What stands before the document, and its own directives."""
    before, directives = chosen.choice(_BEFORE), chosen.choice(_DIRECTIVES) + head
    return before + directives + ("---\n" if directives or before.endswith("...\n") else "")


def _tag(suffix: str, chosen: random.Random) -> tuple[str, str]:
    """Directives and tag."""
    cut = chosen.randrange(len(suffix) + 1)
    match chosen.randrange(6):
        case 0 | 1:
            return "", "!!" + _escaped(suffix, chosen)
        case 2:
            return "", f"!<{_escaped(CORE + suffix, chosen)}>"
        case 3:
            handle = chosen.choice(("!p!", "!!", "!long-handle_1!"))
            cut = min(cut, len(suffix) - 1)
            return f"%TAG {handle} {_escaped(CORE + suffix[:cut], chosen)}\n", handle + _escaped(suffix[cut:], chosen)
        case 4:
            cut = min(cut, len(suffix) - 1)
            return f"%TAG ! {_escaped(CORE + suffix[:cut], chosen)}\n", "!" + _escaped(suffix[cut:], chosen)
        case _:
            unused = "%TAG !unused! tag:example.org,2000:\n"
            return unused, "!!" + _escaped(suffix, chosen)


def _escaped(text: str, chosen: random.Random) -> str:
    share = chosen.choice((0.0, 0.0, 0.1, 0.5, 1.0))
    form = chosen.choice(("%{:02x}", "%{:02X}"))
    return "".join(form.format(ord(letter)) if chosen.random() < share else letter for letter in text)


def _arguments(values: list[str], chosen: random.Random) -> str:
    written = [value if value.isdigit() else _scalar(value, chosen, plain=False) for value in values]
    blank = chosen.choice(_BLANKS)
    match chosen.randrange(4):
        case 0:
            return "".join(f"\n    - {value}" for value in written)
        case 1:
            return f"{blank}{{args: [{', '.join(written)}]}}"
        case _:
            return f"{blank}[{chosen.choice((',', ', ', ' , ')).join(written)}]"


def _scalar(text: str, chosen: random.Random, *, plain: bool = True) -> str:
    match chosen.randrange(4 if plain else 3):
        case 0:
            return "'" + text.replace("'", "''") + "'"
        case 1:
            return '"' + "".join(_letter(letter, chosen) for letter in text) + '"'
        case 2:
            return f'!!str "{text}"' if plain else f'"{text}"'
        case _:
            return text


def _letter(letter: str, chosen: random.Random) -> str:
    code = ord(letter)
    forms = [letter, letter, f"\\x{code:02x}", f"\\u{code:04X}", f"\\U{code:08x}"]
    return chosen.choice(forms if letter == " " else [*forms, f"\\\n      {letter}"])


def _placed(node: str, chosen: random.Random) -> str:
    """The node somewhere in a document."""
    if node.startswith("\n"):
        return chosen.choice((f"a:{node}", f"- a\n-{node}", f"a:\n  - b:{node}\nc: 1", f"{node}"))
    flow = "\n    -" not in node and "#" not in node
    places = [f"a: {node}", f"- 1\n- {node}", f"a:\n  b: {node}\n  c: 1", f"? {node}\n: 1", f"<a : 1\nb: {node}"]
    if flow:
        places += [f"a: {{b: 1, c: {node}}}", f"[1,{node}]", f'{{"a":{node}}}', f"{{? {node} : 1}}", f"a: [b: {node}]"]
    return chosen.choice(places)


def _written(text: str, chosen: random.Random) -> bytes:
    return text.replace("\n", chosen.choice(_BREAKS)).encode(chosen.choice(_ENCODINGS))
