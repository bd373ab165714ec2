"""Uses a client generated from the contract."""

from __future__ import annotations

import re
import sys
from urllib.parse import parse_qs, urljoin, urlsplit

from users_api_client import Client
from users_api_client.api.users import create_user, list_users
from users_api_client.models import InvalidUserProblem, NewUser, User, UsernameTakenProblem
from users_api_client.types import UNSET

[_, base_url] = sys.argv
client = Client(base_url, raise_on_unexpected_status=True)


def create(username: str, key: str | None = None) -> create_user.Response:
    body = NewUser(username)
    return create_user.sync_detailed(client=client, body=body, idempotency_key=key or UNSET)


created = create("grace", "one")
assert created.status_code == 201
assert isinstance(created.parsed, User)
assert created.parsed.username == "grace"
assert created.parsed.created_at.tzinfo is not None

replayed = create("grace", "one")
assert replayed.headers["idempotent-replayed"] == "true"
assert replayed.parsed == created.parsed

taken = create("GRACE").parsed
assert isinstance(taken, UsernameTakenProblem)
assert taken.type_ == "urn:problem-type:users:username-taken"
assert taken.status == 409

refused = create("no spaces").parsed
assert isinstance(refused, InvalidUserProblem)
assert [fault.code for fault in refused.errors] == ["disallowed-character"]

create("gracie")
create("linus")
usernames = []
query = {"prefix": ["gra"], "limit": ["1"]}
while query is not None:
    [prefix], [limit] = query["prefix"], query["limit"]
    cursor = query["cursor"][0] if "cursor" in query else UNSET
    page = list_users.sync_detailed(client=client, prefix=prefix, limit=int(limit), cursor=cursor)
    assert isinstance(page.parsed, list)
    usernames += [user.username for user in page.parsed]
    link = re.fullmatch(r'<([^>]*)>; rel="next"', page.headers.get("link", ""))
    query = link and parse_qs(urlsplit(urljoin(f"{base_url}/api/users", link[1])).query)
assert usernames == ["grace", "gracie"]
