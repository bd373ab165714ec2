"""Tests of docs/operations.md: runs its commands unchanged on an emulator of AWS.

Run by `make verify`; alone, after `make deploy-local` has built and installed what it needs:

    .tools/emulator/bin/python -m unittest discover -s deploy -p test_operations.py

The emulator has no point-in-time recovery, so a test creates the table that a restore would create.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
from pathlib import Path
from typing import ClassVar

from botocore.exceptions import ClientError
from emulator import ROOT, STACK, DeployError
from test_deployed import DeployedTest

GUIDE = (ROOT / "docs" / "operations.md").read_text()


# A resource that can't be created. It fails after the functions have their new versions.
BROKEN = {
    "Type": "AWS::Lambda::Url",
    "DependsOn": ["CreateUserFunctionAliaslive", "ListUsersFunctionAliaslive"],
    "Properties": {"AuthType": "AWS_IAM", "TargetFunctionArn": "no-function"},
}


def commands(heading: str) -> list[str]:
    """The shell blocks below a heading."""
    [text] = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", GUIDE, re.M | re.S)
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.M | re.S)
    return [textwrap.dedent(block) for _, block in blocks]


class Operations(DeployedTest):
    """Each test runs blocks in one shell, after the block that defines the names."""

    folder: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name

    def shell(self, *blocks: str) -> str:
        """Runs these blocks in a shell that stops at the first failure. Returns what it prints."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": self.folder,
            "AWS_ENDPOINT_URL": self.emulator.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        [names] = commands("The shell for the commands below")
        # Paths in the project become absolute, because the shell runs in another folder.
        script = "\n".join(["set -euo pipefail", names, *blocks])
        script = script.replace(".tools/emulator/bin/python", sys.executable)
        script = script.replace("tools/install emulator\n", "").replace(
            "deploy/users.py", str(ROOT / "deploy" / "users.py")
        )
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(ran.returncode, 0, f"{script}\n{ran.stdout}\n{ran.stderr}")
        return ran.stdout

    def versions(self, function: str) -> list[int]:
        """The version numbers of a function."""
        client = self.emulator.client("lambda")
        listed = client.list_versions_by_function(FunctionName=self.resource(function))["Versions"]
        return [int(it["Version"]) for it in listed if it["Version"] != "$LATEST"]

    def live_version(self, function: str) -> int:
        client = self.emulator.client("lambda")
        alias = client.get_alias(FunctionName=self.resource(function), Name="live")
        return int(alias["FunctionVersion"])

    def names(self) -> list[str]:
        return [user["username"] for user in self.call("GET", self.token, "?limit=1000").json()]

    def test_the_token_of_the_guide_is_accepted(self) -> None:
        [get] = commands("Get a token")
        # The emulator has one token endpoint for all domains.
        get = get.replace('"$(output TokenEndpoint)"', self.stack.token_url)
        token = json.loads(self.shell(get))["access_token"]
        self.assertEqual(self.call("GET", token).status, 200)

    def test_creates_are_stopped_and_opened_without_a_deployment(self) -> None:
        client = self.emulator.client("lambda")
        name = self.resource("CreateUserFunction")
        stop, start = commands("Stop and open the service")
        self.shell(stop)
        limit = client.get_function_concurrency(FunctionName=name)
        self.assertEqual(limit["ReservedConcurrentExecutions"], 0)
        self.shell(start)
        limit = client.get_function_concurrency(FunctionName=name)
        self.assertNotIn("ReservedConcurrentExecutions", limit)

    def test_the_deployment_after_a_failed_one_works(self) -> None:
        before = {it: self.versions(it) for it in ("CreateUserFunction", "ListUsersFunction")}
        with self.assertRaises(DeployError):
            self.emulator.deploy({"Broken": BROKEN}, MemorySize="512")
        self.assertEqual(self.create("after-a-failure").status, 201)
        client = self.emulator.client("lambda")
        # A version that nothing refers to, as a rollback in an account leaves it.
        client.publish_version(FunctionName=self.resource("CreateUserFunction"), Description="left")
        current = self.live_version("CreateUserFunction")
        self.assertGreater(max(self.versions("CreateUserFunction")), current)

        [delete] = commands("Deploy after a rollback")
        self.shell(delete)
        for function, versions in before.items():
            self.assertEqual(self.versions(function)[-1], self.live_version(function), function)
            self.assertLessEqual(set(versions), set(self.versions(function)))
        self.emulator.deploy(MemorySize="512")
        self.assertEqual(self.create("after-the-next-one").status, 201)
        self.assertGreater(self.live_version("CreateUserFunction"), current)

    def test_a_restored_table_gets_what_was_created_since_and_the_way_back_works(self) -> None:
        blocks = commands("Restore the table to a point in time")
        restore, wait, rest, copy, deploy = blocks
        self.assertEqual(deploy, "sam build && sam deploy\n")
        names, restored = restore.rsplit("\naws ", 1)[0], f"{STACK}-restored-20261124"
        self.assertIn(f"restored=$stack-restored-{restored.rsplit('-', 1)[1]}", names)
        self.create("created-since")
        self.empty_table(restored)
        self.shell(names, wait, rest, copy)
        # Running it again changes nothing.
        self.shell(names, copy)
        self.assertEqual(list(Path(self.folder).glob("*.progress")), [])

        self.emulator.deploy(RestoredTableName=restored)
        self.assertIn("created-since", self.names())
        self.create("on-the-restored-one")
        # The previous version may serve again, so the role has access to both tables.
        own = self.resource("UsersTable")
        key = {"kind": {"S": "test"}, "username_key": {"S": "ada"}}
        for table in (own, restored):
            self.table_as("CreateUserRole").put_item(TableName=table, Item=key)
            self.emulator.client("dynamodb").delete_item(TableName=table, Key=key)

        back = copy.replace('"$own"', "$swap").replace('"$restored"', '"$own"')
        self.shell(
            f"swap={restored} own={own} since=2026-01-01T00:00:00Z",
            back.replace("$swap", '"$swap"'),
        )
        self.emulator.deploy(RestoredTableName="")
        self.assertIn("on-the-restored-one", self.names())

    def test_a_user_is_erased_under_load_and_nobody_else_is(self) -> None:
        search, find, delete = commands("Erase a user")
        stopping = threading.Event()
        created: list[str] = []

        def create() -> None:
            while not stopping.is_set():
                name = f"busy-{len(created)}"
                if self.create(name).status == 201:
                    created.append(name)

        self.assertEqual(self.create("ada", idempotency_key="one").status, 201)
        writer = threading.Thread(target=create)
        writer.start()
        try:
            self.assertRegex(self.shell(search, find, delete), r"^ada\tada\t[0-9a-f-]{36}\n")
        finally:
            stopping.set()
            writer.join()
        names = self.names()
        self.assertNotIn("ada", names)
        self.assertLessEqual(set(created), set(names))

        # Running it again after somebody else has taken the name deletes nobody.
        self.shell(find.replace("$(aws", "$(echo 01a20f20-8028-76b1-aae4-c77b21b19de7; : ||"))
        taken = self.create("ada").json()
        once_more = delete.replace("$id", "01a20f20-8028-76b1-aae4-c77b21b19de7")
        refused = self.shell(find, once_more.rstrip() + " 2>&1 || true")
        self.assertIn("ConditionalCheckFailedException", refused)
        page = self.call("GET", self.token, "?prefix=ada").json()
        self.assertEqual(page, [taken])

    def test_the_policy_of_the_guide_is_enough_to_erase_and_for_nothing_else(self) -> None:
        [policy] = re.findall(r"```json\n(\{\n  \"Effect\".*?)```", GUIDE, re.S)
        table = self.resource("UsersTable")
        policy = policy.replace("REGION:ACCOUNT:table/TABLE", f"*:*:table/{table}")
        iam = self.emulator.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        role = iam.create_role(
            RoleName="eraser",
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )["Role"]
        document = {"Version": "2012-10-17", "Statement": [json.loads(policy)]}
        iam.put_role_policy(
            RoleName="eraser", PolicyName="erase", PolicyDocument=json.dumps(document)
        )
        client = self.client_of(role["Arn"])
        key = {"kind": {"S": "user"}, "username_key": {"S": "nobody"}}
        client.get_item(TableName=table, Key=key)
        client.delete_item(TableName=table, Key=key)
        for refused in (
            lambda: client.put_item(TableName=table, Item=key),
            lambda: client.scan(TableName=table),
        ):
            with self.assertRaises(ClientError):
                refused()

    def test_all_users_are_exported_and_an_export_goes_on_where_it_was(self) -> None:
        for name in ("Ольга", 'a"b', "zoe"):
            self.create(name)
        [export] = commands("Export all users")
        self.shell(export)
        file = Path(self.folder) / "users.jsonl"
        whole = file.read_text()
        users = [json.loads(line) for line in whole.splitlines()]
        self.assertEqual(users, self.call("GET", self.token, "?limit=1000").json())

        # As if it had been stopped while it wrote the second line, after a first page of one user.
        first = whole.splitlines(keepends=True)[0]
        file.write_text(first + whole[len(first) : len(first) + 5])
        key = {"kind": {"S": "user"}, "username_key": {"S": users[0]["username"].lower()}}
        progress = {
            "arguments": ["export", self.stack.outputs["TableName"]],
            "next": key,
            "users": 1,
            "bytes": len(first.encode()),
        }
        (Path(self.folder) / "users.jsonl.progress").write_text(json.dumps(progress))
        self.shell(export)
        self.assertEqual(file.read_text(), whole)


if __name__ == "__main__":
    unittest.main()
