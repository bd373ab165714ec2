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

# Each sandbox creates this client once, in Lambda's INIT phase. It keeps connections open.
dynamodb = boto3.client(
    "dynamodb",
    config=Config(
        connect_timeout=1,
        read_timeout=1.2,
        retries={"mode": "standard", "total_max_attempts": 3},
    ),
)
TABLE_NAME = os.environ["TABLE_NAME"]
KIND_USER = "user"

MAX_USERNAME_CHARS = 80

_CASE_PRESERVED = precis_i18n.get_profile("UsernameCasePreserved")
_CASE_MAPPED = precis_i18n.get_profile("UsernameCaseMapped")

Event = dict[str, Any]
Response = dict[str, Any]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str
    # The names of the metrics that count this answer.
    metrics: list[str] = field(default_factory=list)
    # Why the request failed. Only the log contains this text.
    cause: str | None = None


class Problem(Exception):
    """An error that the caller gets as a problem document (RFC 9457)."""

    def __init__(
        self, status: int, title: str, metrics: list[str] | None = None, cause: str | None = None
    ) -> None:
        super().__init__(title)
        headers = {"content-type": "application/problem+json", "cache-control": "no-store"}
        body = to_json({"title": title, "status": status})
        self.answer = Answer(status, headers, body, metrics or [], cause)


def answers(route: str) -> Callable[[Callable[[Event], Answer]], Callable[[Event, Any], Response]]:
    """Makes a Lambda handler from a function that returns an answer or raises a problem."""

    def decorate(answer_to: Callable[[Event], Answer]) -> Callable[[Event, Any], Response]:
        cold_start = True

        @functools.wraps(answer_to)
        def handler(event: Event, context: Any) -> Response:
            nonlocal cold_start
            started = time.perf_counter()
            try:
                answer = answer_to(event)
            except Problem as problem:
                answer = problem.answer
            except Exception as error:
                # Do not log the error's message, because it may quote a username.
                cause = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
                answer = Problem(500, "The service failed", ["InternalErrors"], cause).answer
            _log(route, event, context, answer, started, cold_start)
            cold_start = False
            return {
                "statusCode": answer.status,
                "headers": {"x-content-type-options": "nosniff", **answer.headers},
                "body": answer.body,
            }

        return handler

    return decorate


def _log(
    route: str, event: Event, context: Any, answer: Answer, started: float, cold_start: bool
) -> None:
    """Writes a request's log line, with metrics in CloudWatch's embedded metric format."""
    now = time.time_ns() // 1_000_000
    metrics = [*answer.metrics, "ColdStarts"] if cold_start else answer.metrics
    authorizer = event["requestContext"].get("authorizer") or {}
    line = {
        "timestamp": _rfc3339(now),
        "level": "ERROR" if answer.status >= 500 else "INFO",
        "message": "request",
        "requestId": context.aws_request_id,
        "traceId": os.environ.get("_X_AMZN_TRACE_ID"),
        "route": route,
        "caller": authorizer.get("jwt", {}).get("claims", {}).get("sub"),
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


@dataclass(frozen=True)
class Username:
    """A username in two forms (RFC 8265): `display` is shown, and `key` is compared."""

    display: str
    key: str


def parse_username(text: str) -> Username:
    try:
        username = Username(_CASE_PRESERVED.enforce(text), _CASE_MAPPED.enforce(text))
    except UnicodeEncodeError:
        raise Problem(422, "The username has a character that is not allowed") from None
    if not 1 <= len(username.display) <= MAX_USERNAME_CHARS:
        raise Problem(422, f"A username has 1 to {MAX_USERNAME_CHARS} characters")
    return username


def user(user_id: str, username: str) -> dict[str, str]:
    """Returns a user as the API shows it. The first 48 bits of the id are the time of creation."""
    milliseconds = int(user_id[:8] + user_id[9:13], 16)
    return {"id": user_id, "username": username, "created_at": _rfc3339(milliseconds)}


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _rfc3339(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03}Z"
