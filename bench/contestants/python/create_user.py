"""The Lambda function behind `POST /api/users`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from email.message import Message
from typing import Any, NoReturn

import uuid6

import shared
from shared import Answer, Event, Problem

MAX_BODY_BYTES = 16 * 1024

# A Structured Field string (RFC 9651), or the bare characters that many clients send.
_IDEMPOTENCY_KEY = re.compile(
    r'"(?P<quoted>(?:[!#-\[\]-~]|\\["\\]){1,255})"|(?P<bare>[!#-+\--:<-\[\]-~]{1,255})'
)


@shared.answers("POST /api/users")
def handler(event: Event) -> Answer:
    headers = event["headers"]
    check_media_type(headers.get("content-type"))
    request = fingerprint(event, headers.get("idempotency-key"))
    username = parse_body(event)

    user_id = str(uuid6.uuid7())
    item: dict[str, Any] = {
        "kind": {"S": shared.KIND_USER},
        "username_key": {"S": username.key},
        "username": {"S": username.display},
        "id": {"S": user_id},
    }
    if request is not None:
        item["request"] = {"B": request}
    try:
        shared.dynamodb.put_item(
            TableName=shared.TABLE_NAME,
            Item=item,
            ConditionExpression="attribute_not_exists(username_key)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except shared.dynamodb.exceptions.ConditionalCheckFailedException as error:
        # The item that is there tells whether this very request made it.
        found = error.response["Item"]
        # The SDK repeated a write whose answer was lost.
        if found["id"]["S"] == user_id:
            return created(user_id, username.display, "UsersCreated")
        # The client repeated its request.
        if (
            request is not None
            and found.get("request", {}).get("B") == request
            and found["username"]["S"] == username.display
        ):
            answer = created(found["id"]["S"], username.display, "CreatesReplayed")
            answer.headers["idempotent-replayed"] = "true"
            return answer
        raise Problem(
            "username-taken",
            "Another user has this username, or one that differs from it only in case or width. "
            "Choose another one.",
            metrics=["Conflicts"],
        ) from None
    return created(user_id, username.display, "UsersCreated")


def created(user_id: str, username: str, metric: str) -> Answer:
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    body = shared.to_json(shared.user(user_id, username))
    return Answer(201, headers, body, [metric])


def check_media_type(content_type: str | None) -> None:
    """Checks that the body is said to be JSON in UTF-8."""
    message = Message()
    message["content-type"] = content_type or ""
    media_type = message.get_content_type()
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    if not is_json or message.get_content_charset("utf-8") != "utf-8":
        raise Problem(
            "unsupported-media-type",
            "Send the user as JSON in UTF-8, with the header Content-Type: application/json.",
        )


def fingerprint(event: Event, idempotency_key: str | None) -> bytes | None:
    """The hash of the caller and its Idempotency-Key, by which a repeated request is known."""
    if idempotency_key is None:
        return None
    match = _IDEMPOTENCY_KEY.fullmatch(idempotency_key.strip(" \t"))
    if match is None:
        raise Problem(
            "invalid-idempotency-key",
            "Send one Idempotency-Key of 1 to 255 visible ASCII characters, such as a UUID, in "
            "double quotes.",
        )
    key = match["bare"] or re.sub(r"\\(.)", r"\1", match["quoted"])
    caller = shared.caller(event)
    # The length keeps (ab, c) and (a, bc) apart, and no caller apart from an empty one.
    length = 2**64 - 1 if caller is None else len(caller.encode())
    return hashlib.sha256(length.to_bytes(8, "big") + f"{caller or ''}{key}".encode()).digest()


def parse_body(event: Event) -> shared.Username:
    body = event.get("body") or ""
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    if len(body) > MAX_BODY_BYTES:
        raise Problem(
            "body-too-large",
            f"The body has {len(body)} bytes; at most {MAX_BODY_BYTES} are allowed.",
        )
    if not body:
        raise Problem("invalid-body", "The body is empty; send a JSON object with a username.")
    try:
        # Objects as tuples of pairs, so that a member that stands there twice is seen.
        members = json.loads(body.decode(), object_pairs_hook=tuple, parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8: the byte at offset {error.start} is wrong."
        raise Problem("invalid-body", detail) from None
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON: see line {error.lineno}, column {error.colno}."
        raise Problem("invalid-body", detail) from None
    # A constant that is no JSON, a number of thousands of digits, or a nesting as deep.
    except (ValueError, RecursionError):
        raise Problem("invalid-body", "The body is not JSON.") from None
    if not isinstance(members, tuple):
        raise Problem(
            "invalid-body",
            "The body is JSON but not an object; send a JSON object with a username.",
        )
    usernames = [value for name, value in members if name == "username"]
    if not usernames:
        raise invalid_username("missing", "The field username is missing.")
    if len(usernames) > 1:
        raise Problem("invalid-body", "The field username is repeated. Send it once.")
    username = usernames[0]
    if not isinstance(username, str):
        raise invalid_username("not-a-string", "The field username must be a string.")
    if any("\ud800" <= character <= "\udfff" for character in username):
        raise Problem(
            "invalid-body",
            "The username contains an unpaired surrogate, such as \\ud800.",
        )
    try:
        return shared.parse_username(username)
    except shared.UsernameError as error:
        raise invalid_username(error.code, str(error)) from None


def refuse_constant(name: str) -> NoReturn:
    """Python takes NaN and Infinity for numbers; JSON has neither."""
    raise ValueError(name)


def invalid_username(code: str, detail: str) -> Problem:
    fault = {"pointer": "#/username", "code": code, "detail": detail}
    return Problem("invalid-user", detail, errors=[fault])
