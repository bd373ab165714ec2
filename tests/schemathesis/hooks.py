"""Checks for schemathesis, and links between operations, because openapi.yaml has none."""

import re
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.generation import GenerationMode

# Headers that the contract need not document, because every HTTP server adds them.
OF_HTTP = {"content-length", "content-type", "date"}


@schemathesis.hook
def before_load_schema(_context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Adds links between operations, so that schemathesis tests sequences of requests."""
    responses = raw_schema["components"]["responses"]
    responses["UserCreated"]["links"] = {
        "listed": {
            "operationId": "listUsers",
            "parameters": {"prefix": "$response.body#/username"},
        },
        "repeated": {
            "operationId": "createUser",
            "parameters": {"Idempotency-Key": "$request.header.Idempotency-Key"},
            "requestBody": "$request.body",
        },
    }
    responses["UsersListed"]["links"] = {
        "unchanged": {
            "operationId": "listUsers",
            "parameters": {"If-None-Match": "$response.header.ETag"},
        },
    }


@schemathesis.check
def every_header_is_documented(_context: CheckContext, response: Response, case: Case) -> None:
    """Fails if a response has an undocumented header. schemathesis itself lacks this check."""
    documented = case.operation.responses.find_by_status_code(response.status_code)
    if documented is None:
        return
    names = OF_HTTP | {name.lower() for name, _ in documented.headers.items()}
    unknown = {name.lower() for name in response.headers} - names
    assert not unknown, f"undocumented headers: {', '.join(sorted(unknown))}"


@schemathesis.check
def input_that_the_contract_allows_in_words_is_accepted(
    _context: CheckContext, response: Response, case: Case
) -> None:
    """Fails if the API refuses valid input.

    Schemathesis has such a check too, but that check fails if the API refuses any input that fits
    the schema, and the schema can't describe all rules. So schemathesis.toml loosens that check,
    and this check covers input that is certainly valid.
    """
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.method == "GET":
        # The API may refuse a cursor, because a cursor is valid only with the prefix of the page
        # that linked to it. The API may also refuse a prefix with U+FFFD, because it replaces
        # invalid UTF-8 with this character, and can't tell whether the request contained it.
        query = case.query or {}
        if "cursor" not in query and "\ufffd" not in str(query.get("prefix")):
            assert response.status_code in (200, 304), f"{query}: {response.status_code}"
    elif isinstance(case.body, dict):
        username = case.body.get("username")
        if isinstance(username, str) and re.fullmatch("[!-~]{1,80}", username):
            assert response.status_code in (201, 409), f"{username}: {response.status_code}"
