"""The connectors' own page of the docs, made from what they declare. `python -m connectors.handbook`

A connector's docstring, options and promises are its documentation: there is nothing else to keep up.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from connectors import catalog
from connectors.base import Can, Connector

PAGE = Path(__file__).resolve().parents[1] / "docs" / "connectors.md"

_CAN = {
    Can.READ: "reads",
    Can.WRITE: "writes",
    Can.DELETE: "deletes",
    Can.INCREMENTAL: "reads only what moved, past a cursor",
    Can.LOOKUP: "looks single records up",
    Can.CREATE_STREAM: "makes a missing stream",
}

_HEAD = """# Connectors

Made from what the connectors declare: `make docs` writes this page, and a test fails when it is out of date.

A connection names a connector and its options; what a sync says of one stream stands at its end:

```yaml
connections:
  NAME: {connector: CONNECTOR, options: {...}}
syncs:
  NAME:
    left: {connection: NAME, stream: STREAM, ...}
```

Options that are secrets are encrypted and never shown again. A connector of your own is one file in
`connectors/`, or a package with an entry point in the group `syncline.connectors`.
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(_chapter(catalog.get(name)) for name in catalog.names())


def _chapter(kind: type[Connector]) -> str:
    does = [words for can, words in _CAN.items() if can in kind.can]
    lines = [
        f"\n## `{kind.name}`: {kind.title}\n",
        inspect.cleandoc(kind.__doc__ or ""),
        "",
        f"It {', '.join(does[:-1])} and {does[-1]}." if len(does) > 1 else f"It {does[0]}.",
        _promises(kind),
        "",
        *_table("option of the connection", kind.Options),
        *_table("option of a stream", kind.StreamOptions),
    ]
    return "\n".join(lines)


def _promises(kind: type[Connector]) -> str:
    said = [
        "One complete read is one consistent picture: it proves by itself that a record is gone."
        if kind.snapshot
        else "A record counts as gone when two complete reads miss it, or a look-up says so.",
        f"Batches of {kind.batch_size:,} records unless `batch_size` says otherwise.",
    ]
    if kind.blank_is_null:
        said.append("It cannot tell an empty text from no value.")
    if kind.omits_empty:
        said.append("It leaves empty fields out of its answers.")
    if not kind.consistent:
        said.append("Writes show late: a record that was just written is not missed for ten minutes.")
    return " ".join(said)


def _table(title: str, model: type[BaseModel]) -> list[str]:
    if not model.model_fields:
        return []
    rows = [_row(name, info) for name, info in model.model_fields.items()]
    return [f"| {title} | default | |", "|---|---|---|", *rows, ""]


def _row(name: str, info: FieldInfo) -> str:
    default = "required" if info.is_required() else _shown(info.default)
    secret = " Secret." if _is_secret(info.annotation) else ""
    text = (
        info.description or (info.title if info.title and info.title.lower() != name else "") or ""
    ).strip()
    return f"| `{name}` | {default} | {text}{secret} |"


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def _shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, BaseModel):
        return f"`{default.model_dump()}`"
    return f"`{default}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
