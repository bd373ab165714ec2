"""The Lambda function behind `POST /api/users`."""

from __future__ import annotations

import base64
import json

import uuid6

import shared
from shared import Answer, Event, Problem


@shared.answers("POST /api/users")
def handler(event: Event) -> Answer:
    username = parse_body(event)
    user_id = str(uuid6.uuid7())
    try:
        shared.dynamodb.put_item(
            TableName=shared.TABLE_NAME,
            Item={
                "kind": {"S": shared.KIND_USER},
                "username_key": {"S": username.key},
                "username": {"S": username.display},
                "id": {"S": user_id},
            },
            ConditionExpression="attribute_not_exists(username_key)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except shared.dynamodb.exceptions.ConditionalCheckFailedException as error:
        # The stored item has our id if an earlier attempt of the SDK wrote it, and only the
        # response was lost.
        if error.response["Item"]["id"]["S"] != user_id:
            raise Problem(409, "The username is taken", metrics=["Conflicts"]) from None
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    body = shared.to_json(shared.user(user_id, username.display))
    return Answer(201, headers, body, ["UsersCreated"])


def parse_body(event: Event) -> shared.Username:
    body = event.get("body") or ""
    try:
        new = json.loads(base64.b64decode(body) if event.get("isBase64Encoded") else body)
    except ValueError:
        raise Problem(400, "The body is not JSON") from None
    username = new.get("username") if isinstance(new, dict) else None
    if not isinstance(username, str):
        raise Problem(422, "The field username is missing or not a string")
    return shared.parse_username(username)
