"""The Lambda function behind `GET /api/users`."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import shared
from shared import Answer, Event, Problem

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
MAX_CURSOR_CHARS = 434
MAX_ERRORS = 20
MAX_ECHOED_CHARS = 40

_CURSOR_VERSION = b"\x01"
_CURSOR_HEADER_BYTES = 5
_ETAG_BYTES = 16


@dataclass(frozen=True)
class PageRequest:
    """One page of the list."""

    # As the client wrote it, for the link to the next page.
    raw_prefix: str | None
    # In the form of the keys.
    prefix: str
    limit: int
    # Only users whose keys come after this one.
    after: str | None


@shared.answers("GET /api/users")
def handler(event: Event) -> Answer:
    wanted = parse_query(event["rawQueryString"])
    users, next_key = query(wanted)
    body = shared.to_json(users)
    link = None if next_key is None else next_link(wanted, next_key)
    # It covers the link too: when a user is added behind the last page, its body stays the same.
    digest = hashlib.sha256(f"{body}{link or ''}".encode()).digest()
    etag = f'"{base64url(digest[:_ETAG_BYTES])}"'
    headers = {"cache-control": "private, no-cache", "etag": etag}
    if link is not None:
        headers["link"] = link
    if matches(event["headers"].get("if-none-match"), etag):
        return Answer(304, headers, None, ["PagesListed"])
    headers["content-type"] = "application/json"
    return Answer(200, headers, body, ["PagesListed"])


def query(wanted: PageRequest) -> tuple[list[dict[str, str]], str | None]:
    """The users of a page, and the key after which the next page begins, if there is one."""
    parameters: dict[str, Any] = {
        "TableName": shared.TABLE_NAME,
        "KeyConditionExpression": "kind = :kind",
        "ExpressionAttributeValues": {":kind": {"S": shared.KIND_USER}},
        "ProjectionExpression": "username_key, username, id",
        # One more than the page holds tells whether there is a next page.
        "Limit": wanted.limit + 1,
        "ConsistentRead": True,
    }
    if wanted.prefix:
        parameters["KeyConditionExpression"] += " AND begins_with(username_key, :prefix)"
        parameters["ExpressionAttributeValues"][":prefix"] = {"S": wanted.prefix}
    if wanted.after is not None:
        parameters["ExclusiveStartKey"] = {
            "kind": {"S": shared.KIND_USER},
            "username_key": {"S": wanted.after},
        }
    found = shared.dynamodb.query(**parameters)
    items = found["Items"]
    page = items[: wanted.limit]
    users = [shared.user(item["id"]["S"], item["username"]["S"]) for item in page]
    if len(items) > wanted.limit:
        return users, page[-1]["username_key"]["S"]
    # The table may stop early, at 1 MB or at its own discretion, and says where.
    stopped = found.get("LastEvaluatedKey")
    return users, stopped and stopped["username_key"]["S"]


def parse_query(text: str) -> PageRequest:
    """Reads the query string, and raises a problem with all of its faults."""
    faults: list[dict[str, str]] = []

    def add_fault(parameter: str, code: str, detail: str) -> None:
        faults.append({"parameter": parameter, "code": code, "detail": detail})

    given: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in ("prefix", "limit", "cursor"):
            detail = "Unknown parameter. Use prefix, limit or cursor."
            add_fault(name[:MAX_ECHOED_CHARS], "unknown", detail)
        elif name in given:
            add_fault(name, "repeated", "The parameter is repeated. Send it once.")
        else:
            given[name] = value

    raw_prefix = given.get("prefix")
    prefix: str | None = None
    # Bytes that are not UTF-8 were decoded to this character, which no username can have.
    if "\ufffd" in (raw_prefix or ""):
        add_fault("prefix", "malformed", "The prefix is not percent-encoded UTF-8.")
    else:
        try:
            prefix = shared.prefix_key(raw_prefix or "")
        except ValueError as error:
            add_fault("prefix", "too-long", str(error))

    raw_limit = given.get("limit", str(DEFAULT_LIMIT))
    limit = DEFAULT_LIMIT
    if not (raw_limit.isascii() and raw_limit.isdigit()):
        add_fault(
            "limit", "malformed", "The limit must be a whole number in decimal digits, such as 100."
        )
    # The length first: Python refuses to read thousands of digits.
    elif len(raw_limit.lstrip("0")) > 4 or not 1 <= (limit := int(raw_limit)) <= MAX_LIMIT:
        add_fault("limit", "out-of-range", f"The limit must be from 1 to {MAX_LIMIT}.")

    after: str | None = None
    # A cursor can only be judged beside the prefix that it was made for.
    if "cursor" in given and prefix is not None:
        after = decode_cursor(given["cursor"], prefix)
        if after is None:
            add_fault(
                "cursor",
                "invalid-cursor",
                "The cursor is invalid or was made for another prefix. Follow the Link header "
                "unchanged, or start without a cursor.",
            )

    if faults or prefix is None:
        raise Problem(
            "invalid-query",
            "The query string is invalid: see errors. It may hold prefix, limit and cursor, "
            "each once.",
            errors=faults[:MAX_ERRORS],
        )
    return PageRequest(raw_prefix, prefix, limit, after)


def next_link(wanted: PageRequest, last_key: str) -> str:
    """The link to the page after this key, relative to the request (RFC 8288)."""
    parameters = {"cursor": encode_cursor(wanted.prefix, last_key), "limit": str(wanted.limit)}
    if wanted.raw_prefix is not None:
        parameters["prefix"] = wanted.raw_prefix
    return f'<?{urlencode(parameters)}>; rel="next"'


def encode_cursor(prefix: str, last_key: str) -> str:
    """The key, with a checksum that tells a damaged cursor or that of another prefix."""
    key = last_key.encode()
    # No UTF-8 text has the byte ff, so it keeps (a, bc) and (ab, c) apart.
    checksum = zlib.crc32(_CURSOR_VERSION + prefix.encode() + b"\xff" + key)
    return base64url(_CURSOR_VERSION + checksum.to_bytes(4, "big") + key)


def decode_cursor(cursor: str, prefix: str) -> str | None:
    """The key after which the list continues; None for what `encode_cursor` did not make."""
    if len(cursor) > MAX_CURSOR_CHARS:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key = base64.urlsafe_b64decode(padded)[_CURSOR_HEADER_BYTES:].decode()
    except ValueError:
        return None
    # The table refuses to begin outside of the prefix.
    is_sound = key != "" and key.startswith(prefix) and cursor == encode_cursor(prefix, key)
    return key if is_sound else None


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this page already (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return if_none_match == "*" or etag in tags


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
