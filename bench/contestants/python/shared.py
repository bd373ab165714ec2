"""What both functions need: the table's client, usernames, users, problems, and the log."""

from __future__ import annotations

import functools
import json
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import precis_i18n
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

# Made once for each sandbox, in Lambda's INIT phase; its connections are kept from event to event.
dynamodb = boto3.client(
    "dynamodb",
    config=Config(
        connect_timeout=1,
        read_timeout=1.2,
        retries={"mode": "standard", "total_max_attempts": 3},
    ),
)
TABLE_NAME = os.environ["TABLE_NAME"]
# The partition key of every user.
KIND_USER = "user"

MAX_USERNAME_CHARS = 80

_CASE_PRESERVED = precis_i18n.get_profile("UsernameCasePreserved")
_CASE_MAPPED = precis_i18n.get_profile("UsernameCaseMapped")

_TITLES = {
    "invalid-body": (400, "The body is not a user in JSON"),
    "invalid-idempotency-key": (400, "The Idempotency-Key is malformed"),
    "invalid-query": (400, "The query is invalid"),
    "username-taken": (409, "The username is taken"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The media type is not supported"),
    "invalid-user": (422, "The user is invalid"),
    "internal-error": (500, "The service failed"),
    "unavailable": (503, "The service is busy or cannot reach its table"),
}
_HEADERS = {
    "unsupported-media-type": {"accept": "application/json, application/*+json"},
    "unavailable": {"retry-after": "1"},
}
_THROTTLES = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
}

Event = dict[str, Any]
Response = dict[str, Any]


@dataclass
class Answer:
    """What a handler answers, and what it counts in."""

    status: int
    headers: dict[str, str]
    body: str | None
    metrics: list[str] = field(default_factory=list)
    # Why it failed: for the log, not for the caller.
    cause: str | None = None


class Problem(Exception):
    """A failed request: a problem document (RFC 9457)."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: list[dict[str, str]] | None = None,
        metrics: list[str] | None = None,
        cause: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.metrics = metrics or []
        self.cause = cause

    def answer(self, request_id: str) -> Answer:
        status, title = _TITLES[self.kind]
        document: dict[str, Any] = {
            "type": f"urn:problem-type:users:{self.kind}",
            "title": title,
            "status": status,
            "detail": self.detail,
            "instance": f"urn:request:{request_id}",
        }
        if self.errors:
            document["errors"] = self.errors
        headers = {
            "content-type": "application/problem+json",
            "cache-control": "no-store",
            **_HEADERS.get(self.kind, {}),
        }
        return Answer(status, headers, to_json(document), self.metrics, self.cause)


def answers(route: str) -> Callable[[Callable[[Event], Answer]], Callable[[Event, Any], Response]]:
    """Makes a Lambda handler of a function that answers an event or raises a problem."""

    def decorate(answer_to: Callable[[Event], Answer]) -> Callable[[Event, Any], Response]:
        cold_start = True

        @functools.wraps(answer_to)
        def handler(event: Event, context: Any) -> Response:
            nonlocal cold_start
            started = time.perf_counter()
            try:
                answer = answer_to(event)
            except Exception as error:
                answer = _to_problem(error).answer(context.aws_request_id)
            _log(route, event, context, answer, started, cold_start)
            cold_start = False
            response: Response = {
                "statusCode": answer.status,
                "headers": {"x-content-type-options": "nosniff", **answer.headers},
            }
            if answer.body is not None:
                response["body"] = answer.body
            return response

        return handler

    return decorate


def _to_problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    cause = f"{type(error).__name__}: {error}"
    if isinstance(error, ClientError):
        if error.response["Error"]["Code"] in _THROTTLES:
            return _unavailable(cause, ["Throttles"])
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            return _unavailable(cause)
    # A connection that was refused, broke, or took too long, in all attempts.
    elif isinstance(error, (ConnectionError, HTTPClientError)):
        return _unavailable(cause)
    else:
        # A message may quote the data it failed on; the log holds no username.
        cause = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
    return Problem(
        "internal-error",
        "Something failed on our side. If it happens again, report it with this problem's "
        "instance.",
        metrics=["InternalErrors"],
        cause=cause,
    )


def _unavailable(cause: str, metrics: list[str] | None = None) -> Problem:
    return Problem(
        "unavailable",
        "Try again after the time in the Retry-After header. If this was a create, it may have "
        "taken effect: repeat it with the same Idempotency-Key.",
        metrics=metrics,
        cause=cause,
    )


def _log(
    route: str, event: Event, context: Any, answer: Answer, started: float, cold_start: bool
) -> None:
    """Writes the line of a request, with its metrics in CloudWatch's embedded metric format."""
    now = time.time_ns() // 1_000_000
    level = "WARN" if answer.status == 503 else "ERROR" if answer.status >= 500 else "INFO"
    metrics = [*answer.metrics, "ColdStarts"] if cold_start else answer.metrics
    line = {
        "timestamp": _rfc3339(now),
        "level": level,
        "message": "request",
        "requestId": context.aws_request_id,
        "traceId": os.environ.get("_X_AMZN_TRACE_ID"),
        "route": route,
        "caller": caller(event),
        "status": answer.status,
        "coldStart": cold_start,
        "cause": answer.cause,
        "FunctionName": context.function_name,
        "FunctionVersion": context.function_version,
        "Latency": (time.perf_counter() - started) * 1000,
        **dict.fromkeys(metrics, 1),
        "_aws": {
            "Timestamp": now,
            "CloudWatchMetrics": [
                {
                    "Namespace": "UsersApi",
                    "Dimensions": [["FunctionName"]],
                    "Metrics": [
                        {"Name": "Latency", "Unit": "Milliseconds"},
                        *({"Name": name, "Unit": "Count"} for name in metrics),
                    ],
                }
            ],
        },
    }
    print(to_json({name: value for name, value in line.items() if value is not None}))


def caller(event: Event) -> str | None:
    """The `sub` of the token that the API's authorizer checked, if there is an authorizer."""
    authorizer = event["requestContext"].get("authorizer") or {}
    return authorizer.get("jwt", {}).get("claims", {}).get("sub")


@dataclass(frozen=True)
class Username:
    """A username in its two forms (RFC 8265): the one to show, and the one to compare by."""

    display: str
    key: str


class UsernameError(ValueError):
    """Why a username is refused: a code for programs, and a sentence for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def parse_username(text: str) -> Username:
    """Checks a username and brings it into its two forms."""
    if not text:
        raise UsernameError(
            "empty", f"The username is empty; it needs 1 to {MAX_USERNAME_CHARS} characters."
        )
    try:
        display = _CASE_PRESERVED.enforce(text)
        key = _CASE_MAPPED.enforce(text)
    except UnicodeEncodeError as error:
        if error.reason.endswith("bidi_rule"):
            raise UsernameError(
                "bidi",
                "A username with right-to-left characters must begin with a right-to-left letter, "
                "end with a letter or digit, hold no left-to-right letters, and not mix the digits "
                "0 to 9 with Arabic-Indic ones.",
            ) from None
        raise UsernameError(
            "disallowed-character",
            f"The character U+{ord(error.object[error.start]):04X} is not allowed here; use "
            "letters, digits and the visible ASCII characters, without spaces.",
        ) from None
    if len(display) > MAX_USERNAME_CHARS:
        raise UsernameError(
            "too-long",
            f"The username has {len(display)} characters; "
            f"at most {MAX_USERNAME_CHARS} are allowed.",
        )
    return Username(display, key)


def prefix_key(text: str) -> str:
    """Maps the beginning of a username like a username, but does not judge it: half a word may
    break a rule that the whole word keeps."""
    profile = _CASE_MAPPED
    display = profile.normalization_rule(profile.width_mapping_rule(text))
    if len(display) > MAX_USERNAME_CHARS:
        raise ValueError(
            f"The prefix has {len(display)} characters; at most {MAX_USERNAME_CHARS} are allowed."
        )
    return profile.normalization_rule(profile.case_mapping_rule(display))


def user(user_id: str, username: str) -> dict[str, str]:
    """A user as the API shows it. The first 48 bits of the id are the time of creation."""
    milliseconds = int(user_id[:8] + user_id[9:13], 16)
    return {"id": user_id, "username": username, "created_at": _rfc3339(milliseconds)}


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _rfc3339(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03}Z"
