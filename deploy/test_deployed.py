"""Tests that deploy the template to an emulator of AWS and call the API as a client does.

`make verify` runs them. To run only them, after `make deploy-local` has built the functions:

    .tools/emulator/bin/python -m unittest discover -s deploy -p test_deployed.py
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, ClassVar

from botocore.exceptions import ClientError
from emulator import ROOT, STACK, Answer, Emulator, Stack, request, request_token

JSON = {"content-type": "application/json"}


class DeployedTest(unittest.TestCase):
    parameters: ClassVar[dict[str, str]] = {}
    emulator: Emulator
    stack: Stack

    @classmethod
    def setUpClass(cls) -> None:
        cls.emulator = Emulator().__enter__()
        cls.addClassCleanup(cls.emulator.stop)
        cls.stack = cls.emulator.deploy(**cls.parameters)
        if "ClientId" in cls.stack.outputs:
            cls.token = cls.stack.token("users/read", "users/write")

    def call(
        self,
        method: str,
        token: str | None,
        query: str = "",
        body: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        headers = dict(headers or {})
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else body.encode()
        return request(method, self.stack.users_url + query, data, headers)

    def create(self, username: str, **headers: str) -> Answer:
        body = json.dumps({"username": username})
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", self.token, body=body, headers=JSON | named)

    def resource(self, logical_id: str) -> str:
        formation = self.emulator.client("cloudformation")
        detail = formation.describe_stack_resource(StackName=STACK, LogicalResourceId=logical_id)
        return detail["StackResourceDetail"]["PhysicalResourceId"]

    def empty_table(self, name: str) -> None:
        """Creates an empty table with the key schema of the stack's table."""
        table = self.emulator.client("dynamodb")
        own = table.describe_table(TableName=self.stack.outputs["TableName"])["Table"]
        table.create_table(
            TableName=name,
            KeySchema=own["KeySchema"],
            AttributeDefinitions=own["AttributeDefinitions"],
            BillingMode="PAY_PER_REQUEST",
        )

    def table_as(self, role: str) -> Any:
        """Returns a DynamoDB client with the credentials of a function's role."""
        iam = self.emulator.client("iam")
        arn = iam.get_role(RoleName=self.resource(role))["Role"]["Arn"]
        return self.emulator.client("dynamodb", **self.credentials_of(arn))

    def credentials_of(self, arn: str) -> dict[str, str]:
        sts = self.emulator.client("sts")
        credentials = sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        return {
            "aws_access_key_id": credentials["AccessKeyId"],
            "aws_secret_access_key": credentials["SecretAccessKey"],
            "aws_session_token": credentials["SessionToken"],
        }


class Login(DeployedTest):
    def assert_refused(self, answer: Answer, status: int, message: str) -> None:
        self.assertEqual((answer.status, answer.json()), (status, {"message": message}))

    def assert_unauthorized(self, token: str | None) -> None:
        for method in ("GET", "POST"):
            answer = self.call(method, token, body="{}" if method == "POST" else None, headers=JSON)
            self.assert_refused(answer, 401, "Unauthorized")

    def test_without_a_token_nobody_gets_in(self) -> None:
        self.assert_unauthorized(None)

    def test_garbage_instead_of_a_token_is_refused(self) -> None:
        self.assert_unauthorized("garbage")
        self.assert_unauthorized("a.b.c")

    def test_a_tampered_token_is_refused(self) -> None:
        header, claims, signature = self.token.split(".")
        other = "A" if signature[10] != "A" else "B"
        padded = claims + "=" * (-len(claims) % 4)
        changed = json.loads(base64.urlsafe_b64decode(padded)) | {"sub": "somebody-else"}
        changed = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
        self.assert_unauthorized(f"{header}.{changed}.{signature}")
        self.assert_unauthorized(f"{header}.{claims}.{signature[:10]}{other}{signature[11:]}")

    def test_an_expired_token_is_refused(self) -> None:
        cognito = self.emulator.client("cognito-idp")
        client = {"UserPoolId": self.stack.user_pool, "ClientId": self.stack.outputs["ClientId"]}
        before = cognito.describe_user_pool_client(**client)["UserPoolClient"]
        kept = {
            name: before[name]
            for name in (
                "AllowedOAuthFlows",
                "AllowedOAuthScopes",
                "AllowedOAuthFlowsUserPoolClient",
            )
        }
        # Cognito would reject such a short token lifetime, but the emulator accepts it.
        cognito.update_user_pool_client(
            **client, **kept, AccessTokenValidity=5, TokenValidityUnits={"AccessToken": "seconds"}
        )
        token = self.stack.token("users/read")
        self.assertEqual(self.call("GET", token).status, 200)
        deadline = time.monotonic() + 30
        while self.call("GET", token).status == 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)
        self.assert_unauthorized(token)

    def test_a_token_without_the_scope_of_the_route_is_refused(self) -> None:
        read, write = self.stack.token("users/read"), self.stack.token("users/write")
        self.assertEqual(self.call("GET", read).status, 200)
        self.assert_refused(self.call("GET", write), 403, "Forbidden")
        created = self.call("POST", write, body='{"username": "ada"}', headers=JSON)
        self.assertEqual(created.status, 201)
        refused = self.call("POST", read, body='{"username": "bea"}', headers=JSON)
        self.assert_refused(refused, 403, "Forbidden")

    def test_there_are_no_other_routes(self) -> None:
        for method in ("PUT", "DELETE", "PATCH"):
            self.assertEqual(self.call(method, self.token).status, 404, method)
        other = request("GET", self.stack.users_url + "/1/2", None, {"authorization": self.token})
        self.assertEqual(other.status, 404)


class Api(DeployedTest):
    def test_users_are_created_and_listed(self) -> None:
        created = self.create("Ольга")
        self.assertEqual(created.status, 201)
        self.assertEqual(created.headers["cache-control"], "no-store")
        taken = self.create("ольга")
        self.assertEqual(taken.status, 409)
        self.assertEqual(taken.headers["content-type"], "application/problem+json")
        self.assertEqual(taken.json()["type"], "urn:problem-type:users:username-taken")

        page = self.call("GET", self.token, "?prefix=%D0%BE")
        self.assertEqual((page.status, page.json()), (200, [created.json()]))
        again = self.call(
            "GET", self.token, "?prefix=%D0%BE", headers={"if-none-match": page.headers["etag"]}
        )
        self.assertEqual((again.status, again.body), (304, ""))

    def test_a_problem_has_the_request_id_that_is_in_the_log(self) -> None:
        problem = self.create("no spaces")
        self.assertEqual(problem.status, 422)
        self.assertEqual(problem.json()["errors"][0]["code"], "disallowed-character")
        lines = self.log_lines("create-user")
        request_id = problem.json()["instance"].removeprefix("urn:request:")
        self.assertIn(request_id, [line["requestId"] for line in lines])

    def test_the_log_has_the_caller_and_no_username(self) -> None:
        self.create("grace-hopper")
        self.call("GET", self.token, "?prefix=grace")
        # The `sub` of a machine client's token is the client's ID.
        caller = self.stack.outputs["ClientId"]
        for function in ("create-user", "list-users"):
            lines = self.log_lines(function)
            self.assertTrue(lines)
            for line in lines:
                self.assertEqual(line["caller"], caller)
            log = json.dumps(lines).lower()
            for personal in ("grace", "hopper", "bearer", self.token.lower()):
                self.assertNotIn(personal, log)

    def log_lines(self, function: str) -> list[dict[str, Any]]:
        logs = self.emulator.client("logs")
        group = f"/aws/lambda/{STACK}-{function}"
        lines = []
        for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]:
            events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])
            messages = [event["message"] for event in events["events"]]
            parsed = [json.loads(message) for message in messages if message.startswith("{")]
            lines += [line for line in parsed if line["message"] == "request"]
        return lines


class Idempotency(DeployedTest):
    def test_a_request_is_replayed_to_its_own_caller_only(self) -> None:
        first = self.create("linus", idempotency_key="one")
        retry = self.create("linus", idempotency_key="one")
        self.assertEqual((first.status, retry.status), (201, 201))
        self.assertEqual(retry.headers["idempotent-replayed"], "true")
        self.assertEqual(retry.body, first.body)

        token = self.another_callers_token()
        body = '{"username": "linus"}'
        other = self.call("POST", token, body=body, headers=JSON | {"idempotency-key": "one"})
        self.assertEqual(other.status, 409)

    def another_callers_token(self) -> str:
        """Adds a second machine client that the authorizer accepts, and returns its token."""
        cognito = self.emulator.client("cognito-idp")
        pool = self.stack.user_pool
        client = cognito.create_user_pool_client(
            UserPoolId=pool,
            ClientName="another",
            GenerateSecret=True,
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthFlows=["client_credentials"],
            AllowedOAuthScopes=["users/write"],
        )["UserPoolClient"]
        gateway = self.emulator.client("apigatewayv2")
        gateway.update_authorizer(
            ApiId=self.resource("Api"),
            AuthorizerId=self.resource("Authorizer"),
            JwtConfiguration={
                "Issuer": self.stack.outputs["Issuer"],
                "Audience": [self.stack.outputs["ClientId"], client["ClientId"]],
            },
        )
        other = Stack(self.emulator, self.stack.outputs | {"ClientId": client["ClientId"]}, [])
        return other.token("users/write")


class Roles(DeployedTest):
    def assert_allows_only(self, role: str, allowed: str) -> None:
        table = self.table_as(role)
        name = self.stack.outputs["TableName"]
        key = {"kind": {"S": "user"}, "username_key": {"S": role}}
        calls = {
            "PutItem": lambda: table.put_item(TableName=name, Item=key),
            "Query": lambda: table.query(
                TableName=name,
                KeyConditionExpression="kind = :kind",
                ExpressionAttributeValues={":kind": {"S": "user"}},
            ),
            "GetItem": lambda: table.get_item(TableName=name, Key=key),
            "DeleteItem": lambda: table.delete_item(TableName=name, Key=key),
            "Scan": lambda: table.scan(TableName=name),
            "DeleteTable": lambda: table.delete_table(TableName=name),
        }
        for operation, call in calls.items():
            with self.subTest(operation=operation):
                if operation == allowed:
                    call()
                    continue
                with self.assertRaises(ClientError) as denied:
                    call()
                self.assertEqual(
                    denied.exception.response["Error"]["Code"], "AccessDeniedException"
                )

    def test_create_user_may_put_and_nothing_else(self) -> None:
        self.assert_allows_only("CreateUserRole", "PutItem")

    def test_list_users_may_query_and_nothing_else(self) -> None:
        self.assert_allows_only("ListUsersRole", "Query")


class AnotherIssuer(DeployedTest):
    parameters: ClassVar = {"JwtIssuer": "https://issuer.example", "JwtAudience": "one,two"}

    def test_the_api_trusts_the_issuer_of_the_parameters_and_has_no_user_pool(self) -> None:
        gateway = self.emulator.client("apigatewayv2")
        authorizer = gateway.get_authorizer(
            ApiId=self.resource("Api"), AuthorizerId=self.resource("Authorizer")
        )
        self.assertEqual(
            authorizer["JwtConfiguration"],
            {"Issuer": "https://issuer.example", "Audience": ["one", "two"]},
        )
        cognito = self.emulator.client("cognito-idp")
        self.assertEqual(cognito.list_user_pools(MaxResults=10)["UserPools"], [])
        self.assertEqual(set(self.stack.outputs), {"ApiUrl", "Issuer", "TableName", "DashboardUrl"})
        self.assertEqual(self.call("GET", None).status, 401)


class Command(unittest.TestCase):
    """Tests of `make deploy-local` with functions that are already built."""

    def test_the_printed_lines_work_and_the_end_of_the_command_removes_everything(self) -> None:
        for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with (
                self.subTest(ending.name),
                tempfile.TemporaryDirectory() as folder,
                tempfile.TemporaryDirectory() as home,
            ):
                before = emulator_files_in_tmp()
                self.run_and_end(ending, folder, home)
                # Even a killed command must leave no files outside `folder`.
                self.assertEqual(list(Path(home).iterdir()), [])
                self.assertEqual(emulator_files_in_tmp(), before)

    def run_and_end(self, ending: signal.Signals, folder: str, home: str) -> None:
        with subprocess.Popen(
            [sys.executable, ROOT / "deploy" / "local.py"],
            # The command creates its files in the folder TMPDIR. The environment of each of the
            # command's processes contains this folder's path, so `processes_with` finds them.
            env=os.environ | {"TMPDIR": folder, "HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as command:
            try:
                text = ""
                while "Ctrl-C removes everything." not in text:
                    line = command.stdout.readline()
                    self.assertTrue(line, text)
                    text += line
                users_url = re.search(r"deployed at (\S+)", text)[1]
                self.assertIn(f"\n  curl -i '{users_url}' -H", text)
                token_url, client = re.search(r"curl -s (\S+) -u '(\S+)'", text).groups()
                token = request_token(token_url, client, "users/read")
                page = request("GET", users_url, None, {"authorization": f"Bearer {token}"})
                self.assertEqual((page.status, page.body), (200, "[]"))
                # The emulator stores the keys with which it signs tokens. They must be in `folder`,
                # where the checks below notice files that the command leaves behind.
                self.assertTrue(list(Path(folder).rglob("*.pem")))
            finally:
                command.send_signal(ending)
                try:
                    command.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    # The end of the `with` block waits for the command without a time limit.
                    command.kill()
                    raise
        self.assertEqual(command.returncode, -9 if ending == signal.SIGKILL else 0)
        # A command that was killed can't remove its own folder.
        left = len(list(Path(folder).iterdir()))
        self.assertEqual(left, 1 if ending == signal.SIGKILL else 0)
        deadline = time.monotonic() + 30
        while left := processes_with(folder):
            self.assertLess(time.monotonic(), deadline, left)
            time.sleep(0.05)


def emulator_files_in_tmp() -> dict[Path, int]:
    found = [file for top in Path("/tmp").glob("ministack*") for file in (top, *top.rglob("*"))]
    return {file: file.stat().st_mtime_ns for file in found}


def processes_with(folder: str) -> list[str]:
    """Returns the command of each process whose environment contains the path `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            # The process has ended in the meantime, or it belongs to another user.
            continue
    return found


class Lifecycle(DeployedTest):
    def live_version(self) -> str:
        functions = self.emulator.client("lambda")
        name = self.resource("ListUsersFunction")
        return functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"]

    def test_the_users_outlive_an_update_a_restored_table_and_the_stack(self) -> None:
        user = self.create("ada").json()
        before = self.live_version()
        self.assertEqual(self.call("GET", self.token).headers["cache-control"], "private, no-cache")

        updated = self.emulator.deploy(ListMaxAgeSeconds="5")
        self.assertEqual(updated.outputs, self.stack.outputs)
        self.assertGreater(int(self.live_version()), int(before))
        # A rollback needs the previous version.
        functions = self.emulator.client("lambda")
        name = self.resource("ListUsersFunction")
        versions = functions.list_versions_by_function(FunctionName=name)["Versions"]
        self.assertIn(before, [version["Version"] for version in versions])
        page = self.call("GET", self.token)
        self.assertEqual(page.json(), [user])
        self.assertEqual(page.headers["cache-control"], "private, max-age=5")

        table = self.emulator.client("dynamodb")
        restored = "users-restored-1"
        self.empty_table(restored)
        self.emulator.deploy(RestoredTableName=restored)
        self.assertEqual(self.call("GET", self.token).json(), [])
        self.assertEqual(self.create("ada").status, 201)
        self.assertEqual(len(table.scan(TableName=restored)["Items"]), 1)
        # During a deployment, the function's previous version still writes to the stack's own
        # table. So the function's role must still allow this write.
        key = {"kind": {"S": "test"}, "username_key": {"S": "ada"}}
        own = self.stack.outputs["TableName"]
        self.table_as("CreateUserRole").put_item(TableName=own, Item=key)
        table.delete_item(TableName=own, Key=key)

        formation = self.emulator.client("cloudformation")
        formation.delete_stack(StackName=STACK)
        formation.get_waiter("stack_delete_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        name = self.stack.outputs["TableName"]
        self.assertTrue(table.describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"])
        items = table.scan(TableName=name)["Items"]
        self.assertEqual([item["id"]["S"] for item in items], [user["id"]])


if __name__ == "__main__":
    unittest.main()
