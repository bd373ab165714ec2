"""Copies or exports the users of a table, page by page.

    users.py copy --table FROM --to TO --since 2026-11-24T12:00:00Z
    users.py export --table FROM --to users.jsonl

Both read at most --rate users a second and print their progress. You can stop either command. If
you run the same command again, it continues where it stopped.

`copy` writes users to another table: those created after --since, and those created up to a minute
before it. It never replaces a user of that table. `export` writes a line of JSON for each user: id,
username and created_at, as the API shows them.

Both need dynamodb:Query on the table that they read. `copy` also needs dynamodb:PutItem on the
table that it writes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PAGE = 1000
WRITERS = 16
# `copy` begins this long before --since, which is usually the time to which a table was restored. A
# user's id contains the time at which the create request began, but the request may write the user
# some seconds later. If a request began before --since and wrote its user after --since, the
# restored table lacks this user, although the time in the user's id is before --since.
MARGIN = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

Item = dict[str, dict[str, str]]


class Page(NamedTuple):
    """A page of a table: its chosen users, the number of users read to choose them, and the key
    after which the next page begins. The last page has no next key."""

    items: list[Item]
    read: int
    next_key: Item | None


def instant(text: str) -> datetime:
    """Parses a time in RFC 3339, such as 2026-11-24T12:00:00Z."""
    value = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} needs a time zone, such as {text}Z")
    return value


def first_id(since: datetime) -> str:
    """Returns the first digits of a UUIDv7 for this time: the milliseconds since 1970."""
    digits = f"{(since - EPOCH) // timedelta(milliseconds=1):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def created_at(user_id: str) -> str:
    """Returns the time of creation that a UUIDv7 contains, in the API's format."""
    millis = int(user_id[:8] + user_id[9:13], 16)
    time_of = EPOCH + timedelta(milliseconds=millis)
    return time_of.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pages(client: Any, table: str, rate: int, start: Item | None, least: str) -> Iterator[Page]:
    """Yields the pages of a table after the key `start`, or all pages if `start` is None.

    Leaves out users whose id is smaller than `least`. An id begins with the time of creation, so
    these users were created before `least`.
    """
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
        yield Page(answer["Items"], answer["ScannedCount"], start)
        if not start:
            return
        time.sleep(max(0.0, answer["ScannedCount"] / rate - (time.monotonic() - began)))


class Progress:
    """The progress of a run, which is stored in a file so that a later run can continue."""

    def __init__(self, path: Path, arguments: list[str]) -> None:
        self.path = path
        self.state: dict[str, Any] = {"arguments": arguments, "next": None, "read": 0, "users": 0}
        if path.exists():
            found = json.loads(path.read_text())
            if found["arguments"] != arguments:
                raise SystemExit(
                    f"{path} is from a run with other arguments; finish that run or delete the file"
                )
            self.state = found
            print("continuing an earlier run", file=sys.stderr)

    def save(self, page: Page, **more: Any) -> None:
        self.state |= more
        self.state["read"] += page.read
        self.state["users"] += len(page.items)
        self.state["next"] = page.next_key
        if page.next_key:
            whole = self.path.with_name(self.path.name + ".new")
            whole.write_text(json.dumps(self.state))
            whole.replace(self.path)
        else:
            self.path.unlink(missing_ok=True)
        print("read {read} users, chose {users}".format(**self.state), file=sys.stderr, flush=True)


def copy(client: Any, args: argparse.Namespace) -> int:
    arguments = ["copy", args.table, args.to, args.since.isoformat()]
    progress = Progress(Path(f"{args.to}.progress"), arguments)
    # The ids of the users whose usernames belong to other users in the table `--to`.
    refused = progress.state.get("refused", [])

    def put(item: Item) -> None:
        try:
            client.put_item(
                TableName=args.to,
                Item=item,
                ConditionExpression="attribute_not_exists(username_key) OR #id = :id",
                ExpressionAttributeNames={"#id": "id"},
                ExpressionAttributeValues={":id": item["id"]},
            )
        except client.exceptions.ConditionalCheckFailedException:
            refused.append(item["id"]["S"])

    least = first_id(args.since - MARGIN)
    with ThreadPoolExecutor(WRITERS) as writers:
        for page in pages(client, args.table, args.rate, progress.state["next"], least):
            # `map` only starts the writes of this page. `list` waits for their results, and raises
            # the first error.
            list(writers.map(put, page.items))
            progress.save(page, refused=refused)
    for user_id in sorted(set(refused)):
        print(f"not copied: {user_id}; in {args.to}, another user has the name", file=sys.stderr)
    return 1 if refused else 0


def export(client: Any, args: argparse.Namespace) -> int:
    path = Path(args.to)
    progress = Progress(Path(f"{path}.progress"), ["export", args.table])
    done = progress.state.get("bytes", 0)
    with path.open("r+b" if done else "wb") as file:
        # Remove the lines of a page that the last run did not finish.
        file.truncate(done)
        file.seek(done)
        for page in pages(client, args.table, args.rate, progress.state["next"], least=""):
            for item in page.items:
                user = {"id": item["id"]["S"], "username": item["username"]["S"]}
                user["created_at"] = created_at(user["id"])
                file.write(json.dumps(user, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            progress.save(page, bytes=file.tell())
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
        command.add_argument(
            "--rate", type=int, default=5000, help="the maximum number of users per second"
        )
        if name == "copy":
            command.add_argument("--since", type=instant, required=True, help="a time in RFC 3339")
    args = parser.parse_args()
    if args.rate < 1:
        parser.error("--rate must be at least 1")
    try:
        config = Config(
            retries={"mode": "adaptive", "max_attempts": 10}, max_pool_connections=WRITERS
        )
        client = boto3.client("dynamodb", config=config)
        return args.function(client, args)
    except (BotoCoreError, ClientError) as error:
        print(f"{error}; run the same command again to continue", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
