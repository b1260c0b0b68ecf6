"""Every English text of the templates is marked, so that a language file can say it otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from jinja2 import nodes

TEMPLATES = Path(__file__).resolve().parents[2] / "web" / "templates"
# The reference of the API is made from its document, which is English as programs are.
ENGLISH = {"api/reference.html"}
NAMES = sorted({str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html")} - ENGLISH)

MARKS = {"_", "gettext", "ngettext", "counted"}
# Calls and filters whose texts are names, not sentences: addresses, icons, formats, ids, classes.
TAKES_NAMES = {
    "icon",
    "url_for",
    "asset",
    "get",
    "strftime",
    "may",
    "rstrip",
    "split",
    "join",
    "default",
    "choose",
}
SEEN = {"aria-label", "title", "placeholder", "alt", "data-copied", "label"}
# The same in every language.
OURS = {"Syncline", "CSV", "JSON", "API", "UTC", "ms"}

_WORD = re.compile(r"[A-Za-z]{2,}")
_TAG = re.compile(r"<[A-Za-z/!][^>]*>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_LOOSE = re.compile(r'[\w-]+="[^"]*"')  # attributes that a macro writes into somebody else's tag
_EXAMPLE = re.compile(r"&\w+;|\S+@\S+|\S+\d")
_CODE = re.compile(r"<code>[^<]*</code>")  # commands, the same in every language
_PLACE = re.compile(r"[\ue000-\uf8ff]")


def unmarked(app: Flask, name: str) -> list[str]:
    """What a person would read in English whatever their language."""
    tree = app.jinja_env.parse((TEMPLATES / name).read_text())
    exprs: list[nodes.Node] = []
    flat = "".join(_flat(tree.body, exprs))
    found = list(_of_statements(tree))
    seen = [_TAG.sub("\n", _CODE.sub("\n", flat))]
    for tag in _TAG.findall(flat):
        seen += [text for attribute, text in _ATTRIBUTE.findall(tag) if attribute in SEEN]
    for text in seen:
        bare = _EXAMPLE.sub(" ", _PLACE.sub("\n", _LOOSE.sub(" ", text)))
        found += [line.strip() for line in bare.split("\n") if _is_english(line)]
        for place in _PLACE.findall(text):
            found += [said for said in _texts(exprs[ord(place) - 0xE000]) if _is_english(said)]
    return found


def _is_english(text: str) -> bool:
    return any(word not in OURS for word in _WORD.findall(text))


def _flat(body: Iterable[nodes.Node], exprs: list[nodes.Node]) -> Iterator[str]:
    """The template's own text in its order, each expression as one sign."""
    for node in body:
        if isinstance(node, nodes.Output):
            for item in node.nodes:
                if isinstance(item, nodes.TemplateData):
                    yield item.data
                else:
                    yield chr(0xE000 + len(exprs))
                    exprs.append(item)
        elif isinstance(node, nodes.If):
            yield from _flat([*node.body, *node.elif_, *node.else_], exprs)
        elif isinstance(node, nodes.For):
            yield from _flat([*node.body, *node.else_], exprs)
        elif isinstance(node, nodes.Macro | nodes.Block | nodes.CallBlock | nodes.With | nodes.Scope):
            yield from _flat(node.body, exprs)


def _texts(node: nodes.Node) -> Iterator[str]:
    """The texts that this expression may put onto the page by itself."""
    if isinstance(node, nodes.Const):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, nodes.Compare | nodes.Test):
        return
    elif isinstance(node, nodes.Getitem | nodes.Getattr):
        yield from _texts(node.node)
    elif isinstance(node, nodes.CondExpr):
        yield from _texts(node.expr1)
        if node.expr2 is not None:
            yield from _texts(node.expr2)
    elif isinstance(node, nodes.Call | nodes.Filter):
        called = node.node
        name = (
            node.name
            if isinstance(node, nodes.Filter)
            else getattr(called, "name", getattr(called, "attr", ""))
        )
        if name in MARKS:
            return
        if called is not None:
            yield from _texts(called)
        if name not in TAKES_NAMES:
            for item in [*node.args, *(keyword.value for keyword in node.kwargs)]:
                yield from (said for said in _texts(item) if _is_sentence(said))
    else:
        for child in node.iter_child_nodes():
            yield from _texts(child)


def _of_statements(tree: nodes.Template) -> Iterator[str]:
    """Sentences in loops over tables and in names that are set or defaulted."""
    parts: list[nodes.Node] = [node.iter for node in tree.find_all(nodes.For)]
    parts += [node.node for node in tree.find_all(nodes.Assign)]
    parts += [default for node in tree.find_all(nodes.Macro) for default in node.defaults]
    for part in parts:
        yield from (said for said in _texts(part) if _is_sentence(said) and _is_english(said))


def _is_sentence(text: str) -> bool:
    return bool(re.match(r"[A-Z][a-z]|\w+ \w+", text))


@pytest.mark.parametrize("name", NAMES)
def test_no_english_stands_unmarked(app: Flask, name: str) -> None:
    assert unmarked(app, name) == []
