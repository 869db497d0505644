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
VIEW_BLOCKS: Final = 100
VIEW_SIZE: Final = 250_000

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
    ("line", "series"): 6,
    ("bar", "series"): 6,
    ("area", "series"): 6,
    ("pie", "segments"): 6,
    ("series", "name"): 20,
    ("series", "data"): 20,
    ("data", "label"): 20,
    ("segments", "label"): 20,
    ("axis_config", "categories"): 20,
    ("axis_config", "x_label"): 50,
    ("axis_config", "y_label"): 50,
    ("input", "label"): 2000,
    ("input", "hint"): 2000,
    ("modal", "title"): 24,
    ("modal", "submit"): 24,
    ("modal", "close"): 24,
}
_AT_MOST_ANYWHERE: Final = {
    "block_id": 255,
    "action_id": 255,
    "callback_id": 255,
    "placeholder": 150,
    "private_metadata": 3000,
    "text": 3000,
}
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
    found += _size_flaws(blocks, size)
    nodes = [node for index, block in enumerate(blocks) for node in _nodes(f"/{index}", "", block)]
    markdown = sum(len(n.value.get("text", "")) for n in nodes if n.kind == "markdown")
    if markdown > MARKDOWN_SIZE:
        found.append(f"/: {markdown} characters of markdown, at most {MARKDOWN_SIZE}")
    if sum(node.kind == "data_visualization" for node in nodes) > 2:
        found.append("/: more than 2 data_visualization blocks")
    return [*found, *_inner_flaws(blocks)]


def view_flaws(view: Mapping[str, Any]) -> list[str]:
    """Say what Slack would refuse in a modal or a Home tab."""
    frame = {name: part for name, part in view.items() if name != "blocks"}
    found = list(_flaws_of(_Node("", str(view.get("type")), frame)))
    blocks = view.get("blocks") or []
    if len(blocks) > VIEW_BLOCKS:
        found.append(f"/blocks: {len(blocks)} blocks, at most {VIEW_BLOCKS}")
    asks = any(block.get("type") == "input" for block in blocks)
    if asks and view.get("type") == "modal" and not view.get("submit"):
        found.append("/submit: missing, and there is an input")
    return [*found, *_inner_flaws(blocks), *_size_flaws(blocks, VIEW_SIZE)]


def _size_flaws(blocks: Sequence[Mapping[str, Any]], size: int) -> Iterator[str]:
    whole = len(msgspec.json.encode(blocks).decode())
    if whole > size:
        yield f"/: {whole} characters of JSON, at most {size}"


def _inner_flaws(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    nodes = [node for index, block in enumerate(blocks) for node in _nodes(f"/{index}", "", block)]
    found = [flaw for node in nodes for flaw in _flaws_of(node)]
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
    if node.kind == "data_visualization":
        yield from _chart_flaws(node)
    if node.kind == "table" and any(len(row) > 20 for row in node.value.get("rows", ())):
        yield f"{node.where}/rows: more than 20 columns"


def _chart_flaws(node: _Node) -> Iterator[str]:
    """A chart's series have different names, and a value for every category and no other."""
    match node.value.get("chart"):
        case {"series": list(series), "axis_config": {"categories": list(categories)}}:
            names = [one.get("name") for one in series]
            if len(set(names)) < len(names):
                yield f"{node.where}/chart/series: two of one name"
            for at, one in enumerate(series):
                if [point.get("label") for point in one.get("data", ())] != categories:
                    yield f"{node.where}/chart/series/{at}: its labels are not the categories"
            if any(len(str(text)) > 20 for text in categories):
                yield f"{node.where}/chart/axis_config/categories: one is longer than 20"
        case {"type": "pie"}:
            pass
        case _:
            yield f"{node.where}/chart: needs series and axis_config"


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
