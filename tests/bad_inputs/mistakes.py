"""A generator of mistakes: loses, doubles, replaces or inflates parts of a good request, and returns the bytes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from random import Random

_TOKEN: Final = re.compile(
    r'"""(?:[^"]|"(?!""))*"""|"(?:\\.|[^"\\])*"|\.\.\.|[A-Za-z_]\w*|-?[0-9][\w.+-]*|\s+|.', re.DOTALL
)
_TOKENS: Final = (
    *("{", "}", "(", ")", "[", "]", ":", "!", "$", "@", "=", "|", "&", "...", '"', '"""', "#", ",", "\\", "\0", "\x7f"),
    *(
        "query",
        "mutation",
        "subscription",
        "fragment",
        "on",
        "null",
        "true",
        "type",
        "__typename",
        "__schema",
        "nothing",
    ),
    *(
        "0",
        "-1",
        "01",
        "1.5",
        "1e400",
        "9" * 40,
        "9" * 5_000,
        "-" + "9" * 19,
        "$v0",
        "$nothing",
        "@skip(if: true)",
        "@nope",
    ),
    *(
        '"\\u0000"',
        '"\\ud800"',
        '""',
        '"x',
        '"' + "x" * 3_000 + '"',
        "\ufeff",
        "\u202e",
        "\U0001f980",
        "é",
        "...F",
        "...F0",
    ),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        0,
        -1,
        2**31,
        2**63,
        10**30,
        1.5,
        1e300,
        "",
        "x",
        "\0",
        "9" * 400,
        [],
        {},
        [[]],
        {"": {}},
        "x" * 5_000,
    ),
    *(
        [None],
        [0] * 1_001,
        {"eq": 1},
        {"in": ["a"]},
        {"nothing": 1},
        "OPEN",
        "open",
        "1996-02-30",
        "NaN",
        "1e9",
        "\u202e",
    ),
)
_BYTES: Final = (
    b"\x00",
    b"\xff",
    b"\xc3",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\n",
    b"[" * 200,
    b"1e999",
    b"\xed\xa0\x80",
    b",,",
)


def mistaken(body: dict[str, Any], random: Random) -> bytes:
    """Put one to three mistakes into the body's document, variables, envelope or bytes."""
    body = dict(body)
    for _ in range(random.choice((1, 1, 2, 3))):
        random.choice((_in_the_document, _in_the_document, _in_the_document, _in_the_variables, _in_the_envelope))(
            body, random
        )
    written = json.dumps(body, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return _in_the_bytes(written, random) if random.random() < 0.15 else written


def _in_the_document(body: dict[str, Any], random: Random) -> None:
    if not isinstance(body.get("query"), str) or not body["query"]:
        return
    tokens = _TOKEN.findall(body["query"])
    place, other = random.randrange(len(tokens)), random.randrange(len(tokens))
    first, last = sorted((place, other))
    what = random.randrange(8)
    if what == 0:
        del tokens[place]
    elif what == 1:
        tokens[place] = random.choice(_TOKENS)
    elif what == 2:
        tokens.insert(place, random.choice(_TOKENS))
    elif what == 3:
        tokens[place], tokens[other] = tokens[other], tokens[place]
    elif what == 4:
        del tokens[first:last]
    elif what == 5:
        tokens[place:place] = tokens[first:last] * random.choice((1, 2, 40))
    elif what == 6:
        tokens[place] = f" {tokens[place]}" * random.choice((2, 30, 400))
    else:
        tokens[place] = tokens[place][:-1] + random.choice(("", "x", "1", "é"))
    body["query"] = "".join(tokens)


def _in_the_variables(body: dict[str, Any], random: Random) -> None:
    variables = body.get("variables")
    if not isinstance(variables, dict) or not variables or random.random() < 0.1:
        body["variables"] = random.choice(_VALUES)
        return
    variables = body["variables"] = json.loads(json.dumps(variables))
    name = random.choice(list(variables))
    what = random.randrange(4)
    if what == 0:
        del variables[name]
    elif what == 1:
        variables[f"{name}x"] = variables.pop(name)
    elif what == 2 or not isinstance(variables[name], dict | list) or not variables[name]:
        variables[name] = random.choice(_VALUES)
    else:
        _within(variables[name], random)


def _within(value: Any, random: Random) -> None:
    """Put a mistake somewhere into an object or a list."""
    place = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
    below = value[place]
    if isinstance(below, dict | list) and below and random.random() < 0.6:
        _within(below, random)
    elif isinstance(value, dict) and random.random() < 0.3:
        value[random.choice(("nothing", "", "in", "eq", "__proto__"))] = value.pop(place)
    else:
        value[place] = random.choice(_VALUES)


def _in_the_envelope(body: dict[str, Any], random: Random) -> None:
    name = random.choice(("query", "variables", "operationName", "extensions"))
    if random.random() < 0.3:
        body.pop(name, None)
    else:
        body[name] = random.choice((*_VALUES, {"persistedQuery": random.choice(_VALUES)}))


def _in_the_bytes(written: bytes, random: Random) -> bytes:
    place = random.randrange(len(written))
    what = random.randrange(4)
    if what == 0:
        return written[:place]
    if what == 1:
        return written[:place] + random.choice(_BYTES) + written[place:]
    if what == 2:
        return written[:place] + bytes([written[place] ^ (1 << random.randrange(8))]) + written[place + 1 :]
    return written[:place] + written[place + random.randrange(1, 20) :]
