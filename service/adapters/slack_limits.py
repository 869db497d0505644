"""The limits of Slack's Block Kit, also those that slack_sdk does not check.

Source: docs.slack.dev/reference/block-kit, and for the total size slackapi/bolt-js#2509: Slack
refuses a message near 13,200 characters of blocks although no single limit is broken.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

MESSAGE_BLOCKS: Final = 50
MESSAGE_SIZE: Final = 10_000
MARKDOWN_SIZE: Final = 12_000

# How long a text or a list may be, by the kind of thing that holds it and the name it has there.
_AT_MOST: Final[Mapping[tuple[str, str], int]] = {
    ("header", "text"): 150,
    ("section", "text"): 3000,
    ("section", "fields"): 10,
    ("section.fields", "text"): 2000,
    ("markdown", "text"): MARKDOWN_SIZE,
    ("context", "elements"): 10,
    ("actions", "elements"): 25,
    ("image", "alt_text"): 2000,
    ("image", "image_url"): 3000,
    ("image", "title"): 2000,
    ("button", "text"): 75,
    ("button", "value"): 2000,
    ("button", "url"): 3000,
    ("button", "accessibility_label"): 75,
    ("overflow", "options"): 5,
    ("static_select", "options"): 100,
    ("multi_static_select", "options"): 100,
    ("checkboxes", "options"): 10,
    ("radio_buttons", "options"): 10,
    ("options", "text"): 75,
    ("options", "value"): 150,
    ("options", "description"): 75,
    ("confirm", "title"): 100,
    ("confirm", "text"): 300,
    ("confirm", "confirm"): 30,
    ("confirm", "deny"): 30,
    ("table", "rows"): 100,
    ("video", "title"): 199,
    ("video", "author_name"): 49,
    ("data_visualization", "title"): 50,
}
_AT_MOST_ANYWHERE: Final = {"block_id": 255, "action_id": 255, "placeholder": 150, "text": 3000}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "header": ("text",),
    "image": ("alt_text",),
    "context": ("elements",),
    "actions": ("elements",),
    "rich_text": ("elements",),
    "button": ("text",),
    "plain_text": ("text",),
    "mrkdwn": ("text",),
    "section.fields": ("text",),
}
_ONE_OF: Final = {"image": ("image_url", "slack_file"), "section": ("text", "fields")}


class _Node(NamedTuple):
    where: str
    kind: str
    value: Mapping[str, Any]


def flaws(blocks: Sequence[Mapping[str, Any]], *, size: int = MESSAGE_SIZE) -> list[str]:
    """Say what Slack would refuse in the blocks of one message, each with its JSON pointer.

    `size` is how long all blocks may be as JSON, in characters.
    """
    found = []
    if len(blocks) > MESSAGE_BLOCKS:
        found.append(f"/: {len(blocks)} blocks, at most {MESSAGE_BLOCKS}")
    whole = len(msgspec.json.encode(blocks).decode())
    if whole > size:
        found.append(f"/: {whole} characters of JSON, at most {size}")
    nodes = [node for index, block in enumerate(blocks) for node in _nodes(f"/{index}", "", block)]
    markdown = sum(len(n.value.get("text", "")) for n in nodes if n.kind == "markdown")
    if markdown > MARKDOWN_SIZE:
        found.append(f"/: {markdown} characters of markdown, at most {MARKDOWN_SIZE}")
    if sum(node.kind == "data_visualization" for node in nodes) > 2:
        found.append("/: more than 2 data_visualization blocks")
    for node in nodes:
        found += _flaws_of(node)
    return [*found, *_repeated(nodes)]


def _nodes(where: str, parent: str, value: Mapping[str, Any]) -> Iterator[_Node]:
    """Yield every object of a block; an option or a dialogue has no type but its name."""
    kind = str(value.get("type") or parent)
    yield _Node(where, parent if parent == "section.fields" else kind, value)
    for name, inner in value.items():
        for index, item in enumerate(inner if isinstance(inner, list) else [inner]):
            if isinstance(item, dict):
                at = f"{where}/{name}/{index}" if isinstance(inner, list) else f"{where}/{name}"
                yield from _nodes(at, f"{kind}.fields" if name == "fields" else name, item)


def _flaws_of(node: _Node) -> Iterator[str]:
    for name in _NEEDED.get(node.kind, ()):
        if not node.value.get(name):
            yield f"{node.where}/{name}: missing or empty"
    choice = _ONE_OF.get(node.kind)
    if choice and not any(node.value.get(name) for name in choice):
        yield f"{node.where}: needs {' or '.join(choice)}"
    if node.kind == "image" and "image_url" in node.value and "slack_file" in node.value:
        yield f"{node.where}: has both image_url and slack_file"
    for name, value in node.value.items():
        limit = _AT_MOST.get((node.kind, name), _AT_MOST_ANYWHERE.get(name))
        size = _size(value)
        if limit is not None and size is not None and size > limit:
            yield f"{node.where}/{name}: {size}, at most {limit}"
    if node.kind == "table" and any(len(row) > 20 for row in node.value.get("rows", ())):
        yield f"{node.where}/rows: more than 20 columns"


def _size(value: object) -> int | None:
    """Return the length of a text, a text object or a list."""
    if isinstance(value, dict):
        value = value.get("text")
    return len(value) if isinstance(value, str | list) else None


def _repeated(nodes: Sequence[_Node]) -> Iterator[str]:
    for name in ("block_id", "action_id"):
        count = Counter(n.value[name] for n in nodes if isinstance(n.value.get(name), str))
        for value, times in count.items():
            if times > 1:
                yield f"/: {name} {value!r} occurs {times} times"
