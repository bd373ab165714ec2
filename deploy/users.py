"""Copies or exports all users of a table, page by page.

    users.py copy --table FROM --to TO --since 2026-11-24T12:00:00Z
    users.py export --table FROM --to users.jsonl

Both read at most --rate users a second and print their progress. Both can be stopped. Started again
with the same arguments, they continue where they stopped.

`copy` writes the users that were created at or after --since to another table. It never replaces a
user there. `export` writes a line of JSON for each user: id, username and created_at, as the API
shows them.

The calls need dynamodb:Query on the table that is read, and `copy` needs dynamodb:PutItem on the
other one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PAGE = 200
# An id holds the time at which its request began. The write comes some seconds later, so a restore
# to a time between the two lacks the user.
MARGIN = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

Item = dict[str, dict[str, str]]


class Page(NamedTuple):
    """A page of users and the key of the next page; None after the last page."""

    items: list[Item]
    next_key: Item | None


def instant(text: str) -> datetime:
    """Parses a time in RFC 3339, such as 2026-11-24T12:00:00Z."""
    value = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} needs a time zone, such as {text}Z")
    return value


def first_id(since: datetime) -> str:
    """The prefix of the IDs of users created at this time: the milliseconds of a UUIDv7."""
    digits = f"{(since - EPOCH) // timedelta(milliseconds=1):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def created_at(user_id: str) -> str:
    """The time of creation in a UUIDv7, as the API writes it."""
    millis = int(user_id[:8] + user_id[9:13], 16)
    time_of = EPOCH + timedelta(milliseconds=millis)
    return time_of.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pages(client: Any, table: str, rate: int, start: Item | None, least: str) -> Iterator[Page]:
    """All pages of a table after a key, with the users whose ID is at least `least`."""
    while True:
        began = time.monotonic()
        answer = client.query(
            TableName=table,
            KeyConditionExpression="#kind = :kind",
            FilterExpression="#id >= :least",
            ExpressionAttributeNames={"#kind": "kind", "#id": "id"},
            ExpressionAttributeValues={":kind": {"S": "user"}, ":least": {"S": least}},
            ConsistentRead=True,
            Limit=min(PAGE, rate),
            **({"ExclusiveStartKey": start} if start else {}),
        )
        start = answer.get("LastEvaluatedKey")
        yield Page(answer["Items"], start)
        if not start:
            return
        time.sleep(max(0.0, answer["ScannedCount"] / rate - (time.monotonic() - began)))


class Progress:
    """The state of a run, in a file from which the next run continues."""

    def __init__(self, path: Path, arguments: list[str]) -> None:
        self.path = path
        self.state: dict[str, Any] = {"arguments": arguments, "next": None, "users": 0, "bytes": 0}
        if path.exists():
            found = json.loads(path.read_text())
            if found["arguments"] != arguments:
                raise SystemExit(
                    f"{path} is of a run with other arguments; finish that one, or delete the file"
                )
            self.state = found
            print(f"going on after {self.state['users']} users", file=sys.stderr)

    def save(self, **state: Any) -> None:
        self.state |= state
        whole = self.path.with_name(self.path.name + ".new")
        whole.write_text(json.dumps(self.state))
        whole.replace(self.path)
        print(f"{self.state['users']} users", file=sys.stderr)

    def done(self) -> None:
        self.path.unlink(missing_ok=True)


def walk(
    client: Any,
    args: argparse.Namespace,
    progress: Progress,
    least: str,
    handle: Callable[[list[Item]], dict[str, int]],
) -> None:
    """Handles every page, and records each one so that a later run continues after it."""
    for page in pages(client, args.table, args.rate, progress.state["next"], least):
        more = handle(page.items)
        users = progress.state["users"] + len(page.items)
        progress.save(next=page.next_key, users=users, **more)
    progress.done()


def copy(client: Any, args: argparse.Namespace) -> int:
    arguments = ["copy", args.table, args.to, args.since.isoformat()]
    progress = Progress(Path(f"{args.to}.progress"), arguments)
    kept = []

    def put(items: list[Item]) -> dict[str, int]:
        for item in items:
            try:
                client.put_item(
                    TableName=args.to,
                    Item=item,
                    ConditionExpression="attribute_not_exists(username_key) OR #id = :id",
                    ExpressionAttributeNames={"#id": "id"},
                    ExpressionAttributeValues={":id": item["id"]},
                )
            except client.exceptions.ConditionalCheckFailedException:
                kept.append(item["id"]["S"])
        return {}

    walk(client, args, progress, first_id(args.since - MARGIN), put)
    for user_id in kept:
        print(
            f"not copied, since {args.to} has another user of this name: {user_id}", file=sys.stderr
        )
    return 1 if kept else 0


def export(client: Any, args: argparse.Namespace) -> int:
    path = Path(args.to)
    progress = Progress(Path(f"{path}.progress"), ["export", args.table])
    with path.open("r+b" if progress.state["bytes"] else "wb") as file:
        # Removes lines of a page that was not finished.
        file.truncate(progress.state["bytes"])
        file.seek(0, os.SEEK_END)

        def write(items: list[Item]) -> dict[str, int]:
            for item in items:
                user = {"id": item["id"]["S"], "username": item["username"]["S"]}
                user["created_at"] = created_at(user["id"])
                file.write(json.dumps(user, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return {"bytes": file.tell()}

        walk(client, args, progress, "", write)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="copy | export")
    for name, function in [("copy", copy), ("export", export)]:
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--table", required=True, help="the table to read")
        command.add_argument("--to", required=True, help="the table or the file to write")
        command.add_argument("--rate", type=int, default=500, help="users read a second, at most")
        if name == "copy":
            command.add_argument("--since", type=instant, required=True, help="in RFC 3339")
    args = parser.parse_args()
    if args.rate < 1:
        parser.error("--rate is at least 1")
    try:
        client = boto3.client(
            "dynamodb", config=Config(retries={"mode": "adaptive", "max_attempts": 10})
        )
        return args.function(client, args)
    except (BotoCoreError, ClientError) as error:
        print(f"{error}; start the same command again to go on", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
