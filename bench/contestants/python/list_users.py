"""The Lambda function behind `GET /api/users`."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode

import shared
from shared import Answer, Event, Problem

MAX_LIMIT = 1000
DEFAULT_LIMIT = "100"


@shared.answers("GET /api/users")
def handler(event: Event) -> Answer:
    limit, after = parse_query(event["rawQueryString"])
    users, last_key = query(limit, after)
    body = shared.to_json(users)
    headers = {"content-type": "application/json", "cache-control": "private, no-cache"}
    if last_key is not None:
        cursor = base64.urlsafe_b64encode(last_key.encode()).decode()
        headers["link"] = f'<?{urlencode({"cursor": cursor, "limit": limit})}>; rel="next"'
    digest = hashlib.sha256(f"{body}{headers.get('link', '')}".encode()).digest()
    headers["etag"] = f'"{base64.urlsafe_b64encode(digest[:16]).decode()}"'
    return Answer(200, headers, body, ["PagesListed"])


def query(limit: int, after: str | None) -> tuple[list[dict[str, str]], str | None]:
    """Returns the users of a page. If there is a next page, also returns this page's last key."""
    start: dict[str, Any] = {}
    if after is not None:
        start["kind"] = {"S": shared.KIND_USER}
        start["username_key"] = {"S": after}
    found = shared.dynamodb.query(
        TableName=shared.TABLE_NAME,
        KeyConditionExpression="kind = :kind",
        ExpressionAttributeValues={":kind": {"S": shared.KIND_USER}},
        ProjectionExpression="username_key, username, id",
        # The extra user shows that there is a next page.
        Limit=limit + 1,
        ConsistentRead=True,
        **({"ExclusiveStartKey": start} if start else {}),
    )
    items = found["Items"]
    page = items[:limit]
    users = [shared.user(item["id"]["S"], item["username"]["S"]) for item in page]
    # DynamoDB ends a query after 1 MB of items. It then returns the key of the last item.
    last = page[-1] if len(items) > limit else found.get("LastEvaluatedKey")
    return users, last and last["username_key"]["S"]


def parse_query(text: str) -> tuple[int, str | None]:
    given = parse_qs(text)
    try:
        [limit] = map(int, given.get("limit", [DEFAULT_LIMIT]))
        cursor = given.get("cursor")
        after = base64.urlsafe_b64decode(cursor[0]).decode() if cursor else None
    except ValueError:
        raise Problem(400, "The limit or the cursor is invalid") from None
    if not 1 <= limit <= MAX_LIMIT:
        raise Problem(400, f"The limit must be from 1 to {MAX_LIMIT}")
    return limit, after
