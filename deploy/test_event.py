"""Tests that the pipe turns real stream records into UserCreated events that match the contract.

`make verify` runs them. To run only them, after `make deploy-local` has built the functions:

    .tools/emulator/bin/python -m unittest discover -s deploy -p test_event.py
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import time
import unittest
from collections.abc import Callable
from typing import Any, ClassVar

import yaml
from emulator import REGION, ROOT, expand
from jsonschema import Draft7Validator, FormatChecker
from test_deployed import DeployedTest

CONTRACT = yaml.safe_load((ROOT / "asyncapi.yaml").read_text())
MESSAGE = CONTRACT["components"]["messages"]["UserCreated"]

PARAMETERS = {"PublishUserCreated": "true"}

VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))

# Valid usernames that an EventBridge pipe could damage.
HOSTILE = [
    'a"b',
    '"',
    '"ada"',
    'x","id":"y',
    '"},"id":{"S":"y',
    "\\",
    'a\\"b',
    "ends-with\\",
    "\\u0022",
    "\\n",
    "{}[]:,",
    "null",
    "0123",
    "</script>",
    "<$.dynamodb.NewImage.request.B>",
    "<$.dynamodb.NewImage.username>",
    "<$.dynamodb.NewImage.id>",
    "<$.dynamodb.ApproximateCreationDateTime>",
    "<aws.pipes.event>",
    "<aws.pipes.event.json>",
    "${AWS::AccountId}",
    "Ольга",
    "𠮷野",
    # The longest usernames, in characters and in bytes.
    '"' * 80,
    "\\" * 80,
    "𠮷" * 80,
    # All visible ASCII characters, which are too many for one username.
    VISIBLE_ASCII[:47],
    VISIBLE_ASCII[47:],
]

# --- AWS's documentation does not say exactly how a pipe fills in its input template
# (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-input-transformation.html).
# These functions fill in the template in every way that the documentation allows.

PLACEHOLDER = re.compile(r"<\$\.([A-Za-z.]+)>")


def value_at(record: dict[str, Any], path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = value[name]
    return value


def as_json(value: Any) -> str:
    return json.dumps(value, default=in_base64)


def without_escapes(value: Any) -> str:
    """Writes a string with quotes but without escapes, as EventBridge rules do."""
    return f'"{value}"' if isinstance(value, str) else as_json(value)


def without_quotes(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)


def all_at_once(template: str, record: dict[str, Any], written: Callable[[Any], str]) -> str:
    """Replaces all placeholders in one pass. A placeholder within an inserted text stays."""
    return PLACEHOLDER.sub(lambda path: written(value_at(record, path[1])), template)


def one_by_one(template: str, record: dict[str, Any], written: Callable[[Any], str]) -> str:
    """Replaces the placeholders one after another. If an inserted text contains a later one of the
    template's placeholders, this placeholder is replaced too."""
    for path in PLACEHOLDER.findall(template):
        template = template.replace(f"<$.{path}>", written(value_at(record, path)))
    return template


READINGS = list(
    itertools.product((all_at_once, one_by_one), (as_json, without_escapes, without_quotes))
)


def in_base64(value: bytes) -> str:
    """Encodes a binary attribute, because JSON has no binary values."""
    return base64.b64encode(value).decode()


def resolved(schema: Any) -> Any:
    """Replaces each reference in a schema of the contract by the schema that it names."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return resolved(CONTRACT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
        return {name: resolved(value) for name, value in schema.items()}
    return [resolved(value) for value in schema] if isinstance(schema, list) else schema


def faults(event: dict[str, Any]) -> list[str]:
    schema = resolved(MESSAGE["payload"])
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema, format_checker=FormatChecker())
    return [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(event)]


class Contract(unittest.TestCase):
    def test_the_examples_are_valid_events(self) -> None:
        for example in MESSAGE["examples"]:
            self.assertEqual(faults(example["payload"]), [], example["name"])

    def test_the_example_in_the_document_matches_the_contract(self) -> None:
        document = (ROOT / "docs" / "events.md").read_text()
        [example] = re.findall(r"^```json\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)
        self.assertEqual(json.loads(example), MESSAGE["examples"][0]["payload"])

    def test_the_contract_refuses_an_invalid_event(self) -> None:
        good = json.dumps(MESSAGE["examples"][0]["payload"])
        for before, after in [
            ('"users-api"', '"another"'),
            ('"UserCreated"', '"UserDeleted"'),
            ('{"S": "ada"}', '"ada"'),
            ('{"S": "ada"}', '{"S": ""}'),
            ('{"S": "ada"}', "{}"),
            ('{"S": "019ca945', '{"S": "119CA945'),
            ("1772366400", '"1772366400"'),
            ("1772366400", "1772366400.5"),
            ('"version": "0", ', ""),
            ("2026-03-01T12:00:01Z", "2026-03-01"),
        ]:
            bad = good.replace(before, after)
            self.assertNotEqual(bad, good, before)
            self.assertEqual(len(faults(json.loads(bad))), 1, after)

    def test_the_contract_has_the_version_and_the_user_rules_of_the_api(self) -> None:
        api = yaml.safe_load((ROOT / "openapi.yaml").read_text())
        self.assertEqual(CONTRACT["info"]["version"], api["info"]["version"])
        user = api["components"]["schemas"]["User"]["properties"]
        detail = CONTRACT["components"]["schemas"]["Detail"]["properties"]
        for name in ("id", "username"):
            ours, theirs = detail[name]["properties"]["S"], user[name]
            for rule in ("type", "format", "pattern", "minLength", "maxLength"):
                self.assertEqual(ours.get(rule), theirs.get(rule), f"{rule} of {name}")

    def test_the_template_publishes_with_the_type_source_and_bus_of_the_contract(self) -> None:
        pipe = expand(PARAMETERS)["Resources"]["UserCreatedPipe"]["Properties"]
        target = pipe["TargetParameters"]["EventBridgeEventBusParameters"]
        event = CONTRACT["components"]["schemas"]["UserCreated"]["properties"]
        self.assertEqual(
            target,
            {"DetailType": event["detail-type"]["const"], "Source": event["source"]["const"]},
        )
        bus = CONTRACT["channels"]["bus"]["parameters"]["bus"]["default"]
        self.assertEqual(expand(PARAMETERS)["Parameters"]["EventBusName"]["Default"], bus)


class Events(DeployedTest):
    parameters: ClassVar = PARAMETERS

    def test_a_pipe_leads_from_the_table_to_the_bus(self) -> None:
        pipes = self.emulator.client("pipes")
        [pipe] = pipes.list_pipes()["Pipes"]
        pipe = pipes.describe_pipe(Name=pipe["Name"])
        self.assertEqual(pipe["CurrentState"], "RUNNING")
        self.assertIn(f"table/{self.stack.outputs['TableName']}/stream/", pipe["Source"])
        self.assertTrue(pipe["Target"].endswith(":event-bus/default"))
        self.assertEqual(self.create("ada").status, 201)

    def stream_records(self) -> list[dict[str, Any]]:
        """Returns the records of the table's stream, in the form in which a pipe gets them."""
        streams = self.emulator.client("dynamodbstreams")
        [stream] = streams.list_streams(TableName=self.stack.outputs["TableName"])["Streams"]
        arn = stream["StreamArn"]
        records = []
        for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
            iterator = streams.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            records += streams.get_records(ShardIterator=iterator)["Records"]
        for record in records:
            # JSON has no dates, so use seconds since 1970.
            created = record["dynamodb"]["ApproximateCreationDateTime"]
            record["dynamodb"]["ApproximateCreationDateTime"] = int(created.timestamp())
        return records

    def pipe(self) -> dict[str, Any]:
        return expand(self.parameters)["Resources"]["UserCreatedPipe"]["Properties"]

    def filter_accepts(self, record: dict[str, Any]) -> bool:
        """Whether the pipe's filter accepts a stream record."""
        [pattern] = self.pipe()["SourceParameters"]["FilterCriteria"]["Filters"]
        event = envelope({}) | record
        answer = self.emulator.client("events").test_event_pattern(
            EventPattern=pattern["Pattern"], Event=json.dumps(event, default=in_base64)
        )
        return answer["Result"]

    def test_a_new_user_becomes_an_event_and_nothing_else_does(self) -> None:
        user = self.create("grace", idempotency_key="key").json()
        # A repeated create must add no record to the stream.
        self.assertEqual(self.create("grace", idempotency_key="key").status, 201)
        table = self.emulator.client("dynamodb")
        name = self.stack.outputs["TableName"]
        other = {"kind": {"S": "other"}, "username_key": {"S": "grace"}}
        table.put_item(TableName=name, Item=other)
        own = {"kind": {"S": "user"}, "username_key": {"S": "grace"}}
        table.update_item(
            TableName=name,
            Key=own,
            UpdateExpression="SET note = :note",
            ExpressionAttributeValues={":note": {"S": "a change"}},
        )

        records = self.stream_records()
        of_grace = [it for it in records if it["dynamodb"]["Keys"]["username_key"]["S"] == "grace"]
        self.assertEqual(
            [(it["eventName"], self.filter_accepts(it)) for it in of_grace],
            [("INSERT", True), ("INSERT", False), ("MODIFY", False)],
        )
        # The record contains the request's fingerprint, which the event must not contain.
        self.assertIn("request", of_grace[0]["dynamodb"]["NewImage"])
        self.assert_is_published(of_grace[0], user)

    def test_a_legal_username_is_published_unchanged_in_every_template_reading(self) -> None:
        users = {}
        for username in HOSTILE:
            answer = self.create(username, idempotency_key="key")
            self.assertEqual(answer.status, 201, f"{username}: {answer.body}")
            users[answer.json()["id"]] = answer.json()
        self.assertEqual(sorted(it["username"] for it in users.values()), sorted(HOSTILE))
        records = {
            it["dynamodb"]["NewImage"].get("id", {}).get("S"): it for it in self.stream_records()
        }
        for user_id, user in users.items():
            with self.subTest(user["username"]):
                self.assertTrue(self.filter_accepts(records[user_id]))
                self.assert_is_published(records[user_id], user)

    def assert_is_published(self, record: dict[str, Any], user: dict[str, Any]) -> None:
        template = self.pipe()["TargetParameters"]["InputTemplate"]
        created_at = record["dynamodb"]["ApproximateCreationDateTime"]
        self.assertLess(abs(created_at - time.time()), 60)
        expected = {
            "created_at": created_at,
            "id": {"S": user["id"]},
            "username": {"S": user["username"]},
        }
        for filled_in, written in READINGS:
            with self.subTest(f"{filled_in.__name__}, {written.__name__}"):
                detail = filled_in(template, record, written)
                # Each name must occur once. By default, `json.loads` accepts a repeated name and
                # keeps its last value.
                pairs = json.loads(detail, object_pairs_hook=list)
                self.assertCountEqual([name for name, _ in pairs], expected)
                self.assertEqual(json.loads(detail), expected)
                self.assertEqual(faults(envelope(json.loads(detail))), [])


def envelope(detail: dict[str, Any]) -> dict[str, Any]:
    """A UserCreated event as the event bus sends it."""
    return {
        "version": "0",
        "id": "5f1c54d5-5a4f-7c0b-6b0c-3f0d2b9f3d55",
        "detail-type": "UserCreated",
        "source": "users-api",
        "account": "000000000000",
        "time": "2026-03-01T12:00:00Z",
        "region": REGION,
        "resources": [],
        "detail": detail,
    }


if __name__ == "__main__":
    unittest.main()
