"""A page that shows the API, made from its OpenAPI document: one file, no scripts, nothing loaded from elsewhere."""

import json
from html import escape
from typing import Any

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #ccc}
details{margin:.5rem 0;padding:.4rem .8rem;border:1px solid #ddd;border-radius:.4rem}
summary{cursor:pointer}code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:#f5f5f5;padding:.6rem;overflow:auto;white-space:pre-wrap}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0}
.method{display:inline-block;min-width:4.5rem;font-weight:600}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#242424}details{border-color:#444}}
"""


def render(document: dict[str, Any]) -> str:
    """Return the page for an OpenAPI document, as HTML."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
        f"<p>{escape(info['summary'])}</p><pre>{escape(info['description'])}</pre>",
        "<p>For programs: <a href=/openapi.json>openapi.json</a></p>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'].capitalize())}</h2><p>{escape(tag['description'])}</p>")
        parts += [
            _operation(method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if tag["name"] in operation["tags"]
        ]
    parts.append("<h2>Schemas</h2>")
    parts += [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [(f"{item['name']} ({item['in']})", item.get("description", "")) for item in operation.get("parameters", [])]
    answers = [(status, told["description"]) for status, told in sorted(operation["responses"].items())]
    body = operation.get("requestBody")
    return "".join(
        [
            f"<details><summary><code><span class=method>{method.upper()}</span> {escape(path)}</code> ",
            f"{escape(operation['summary'])}</summary><p>{escape(operation['description'])}</p>",
            f"<h4>Parameters</h4>{_table(rows)}" if rows else "",
            f"<h4>Body</h4><p>{escape(body['description'])}</p>{_contents(body)}" if body else "",
            f"<h4>Answers</h4>{_table(answers)}",
            *(_contents(told) for status, told in operation["responses"].items() if status.startswith("2")),
            "</details>",
        ]
    )


def _contents(told: dict[str, Any]) -> str:
    return "".join(
        f"<p><code>{escape(kind)}</code> {_link(content['schema'])}</p><pre>{escape(_text(content['example']))}</pre>"
        for kind, content in told.get("content", {}).items()
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    rows = [
        (f"{field}{'' if field in schema.get('required', ()) else ' (optional)'}", told.get("description", ""))
        for field, told in schema.get("properties", {}).items()
    ]
    title = f"<summary><code>{escape(name)}</code></summary>"
    return f"<details id={escape(name)}>{title}<p>{escape(schema.get('description', ''))}</p>{_table(rows)}</details>"


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th><code>{escape(name)}</code></th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>"


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f"<a href='#{escape(name)}'>{escape(name)}</a>" if name else ""


def _text(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
