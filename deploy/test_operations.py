"""Runs the commands of docs/operations.md on an emulator of AWS.

The tests change details of the commands, such as paths. The emulator restores a table as it is now,
not as it was at the given time.

`make verify` runs them. To run only them, after `make deploy-local` has built the functions:

    .tools/emulator/bin/python -m unittest discover -s deploy -p test_operations.py
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
from typing import Any, ClassVar

from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.session import Session
from emulator import ROOT, DeployError
from test_deployed import DeployedTest

GUIDE = (ROOT / "docs" / "operations.md").read_text()


# CloudFormation always fails to create this resource. Because of DependsOn, the functions' new
# versions exist by then.
BROKEN = {
    "Type": "AWS::Lambda::Url",
    "DependsOn": ["CreateUserFunctionAliaslive", "ListUsersFunctionAliaslive"],
    "Properties": {"AuthType": "AWS_IAM", "TargetFunctionArn": "no-function"},
}


def commands(heading: str) -> list[str]:
    """Returns the shell blocks below a heading of docs/operations.md."""
    [text] = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", GUIDE, re.M | re.S)
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.M | re.S)
    return [textwrap.dedent(block) for _, block in blocks]


class Operations(DeployedTest):
    folder: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name

    def shell(self, *blocks: str, credentials: dict[str, str] | None = None) -> str:
        """Runs `blocks` in a shell and returns the output.

        Before `blocks`, the shell runs the definitions in docs/operations.md that the blocks use.
        """
        account = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        environment = {name.upper(): value for name, value in (credentials or account).items()}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": self.folder,
            "AWS_ENDPOINT_URL": self.emulator.url,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        [names] = commands("The shell for the commands below")
        # Make the project's paths absolute, because the shell runs in another folder.
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
        # Use the emulator's only token endpoint instead of the domain in the stack's output.
        get = get.replace('"$(output TokenEndpoint)"', self.stack.token_url)
        token = self.shell(get).strip()
        self.assertEqual(self.call("GET", token).status, 200)

    def test_creates_are_stopped_and_resumed_without_a_deployment(self) -> None:
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
        functions = ("CreateUserFunction", "ListUsersFunction")
        before = [self.versions(function) for function in functions]
        self.emulator.upload("next-", comment=b"next")
        # Two deployments fail: one with new code, and one that changes only a parameter.
        for build, memory in (("next-", "256"), ("", "512")):
            with self.assertRaises(DeployError):
                self.emulator.deploy({"Broken": BROKEN}, build, MemorySize=memory)
            self.assertEqual(self.create(f"after-{memory}").status, 201)
            # The rollback must remove the failed deployment's version. If this version stayed,
            # Lambda would publish no second version of the same code and configuration, so the
            # next deployment of this code and configuration would fail.
            self.assertEqual([self.versions(function) for function in functions], before)
        for build, memory in (("next-", "256"), ("next-", "512")):
            versions = [self.versions(function) for function in functions]
            self.emulator.deploy(None, build, MemorySize=memory)
            for function, known in zip(functions, versions, strict=True):
                self.assertGreater(self.live_version(function), known[-1])
                self.assertLessEqual(set(known), set(self.versions(function)))

    def test_versions_that_the_stack_does_not_know_are_deleted(self) -> None:
        [delete] = commands('"A version for this Lambda function exists"')
        before = {it: self.versions(it) for it in ("CreateUserFunction", "ListUsersFunction")}
        client = self.emulator.client("lambda")
        name = self.resource("CreateUserFunction")
        client.update_function_configuration(FunctionName=name, Timeout=9)
        client.publish_version(FunctionName=name)
        self.assertNotEqual(self.versions("CreateUserFunction"), before["CreateUserFunction"])
        self.shell(delete)
        for function, versions in before.items():
            self.assertEqual(self.versions(function), versions)

    def test_the_alias_moves_to_the_previous_version_and_back(self) -> None:
        there, back = commands("Roll back")
        self.emulator.deploy(MemorySize="1024")
        after = self.live_version("CreateUserFunction")
        before = self.versions("CreateUserFunction")[-2]
        self.shell(there)
        self.assertEqual(self.live_version("CreateUserFunction"), before)
        self.assertEqual(self.create("on-the-version-before").status, 201)
        self.shell(back)
        self.assertEqual(self.live_version("CreateUserFunction"), after)

    def test_a_rollback_from_the_first_version_fails_and_changes_nothing(self) -> None:
        there, _ = commands("Roll back")
        first = self.versions("CreateUserFunction")[0]
        live = self.live_version("CreateUserFunction")
        names = f"deployed() {{ echo {first}; }}"
        # This shell continues after a failure, as an operator's shell does.
        refused = self.shell(names, f"set +e; {there.rstrip()} 2>&1 || echo refused")
        self.assertRegex(refused, r"FunctionVersion.*\s+refused\n$")
        self.assertEqual(self.live_version("CreateUserFunction"), live)

    def test_a_restored_table_gets_what_was_created_since_and_the_way_back_works(self) -> None:
        restore, wait, rest, copy, deploy = commands("Restore the table to a point in time")
        self.assertEqual(
            deploy, 'sam build --config-env "$config" && sam deploy --config-env "$config"\n'
        )
        names = restore.split("aws ")[0]
        self.create("before")
        self.shell(restore)
        # The restored table lacks the users "since" and "taken". There, another user gets the name
        # "taken".
        self.create("since")
        [restored] = self.shell(names, 'echo "$restored"').split()
        taken = self.create("taken").json()
        another_id = "01a20f20-8028-76b1-aae4-c77b21b19de7"
        other = {"username_key": "taken", "username": "taken", "id": another_id, "kind": "user"}
        item = {name: {"S": value} for name, value in other.items()}
        self.emulator.client("dynamodb").put_item(TableName=restored, Item=item)
        refused = self.shell(names, wait, rest, copy.rstrip() + " 2>&1 || echo refused")
        self.assertRegex(refused, f"not copied: {taken['id']}; .*\nrefused\n$")
        # A second run of the copy command skips the same user again, so this run fails too.
        self.shell(names, copy.rstrip() + " || true")
        self.assertEqual(list(Path(self.folder).glob("*.progress*")), [])

        self.emulator.deploy(RestoredTableName=restored)
        self.assertLessEqual({"before", "since"}, set(self.names()))
        self.create("on-the-restored-one")
        # After a rollback, the function's previous version uses the stack's own table again. So the
        # function's role must allow writes to both tables.
        own = self.resource("UsersTable")
        key = {"kind": {"S": "test"}, "username_key": {"S": "ada"}}
        for table in (own, restored):
            self.table_as("CreateUserRole").put_item(TableName=table, Item=key)
            self.emulator.client("dynamodb").delete_item(TableName=table, Key=key)

        [back] = commands("The way back to the stack's own table")
        self.shell(back.rstrip() + " || true")
        self.emulator.deploy(RestoredTableName="")
        self.assertIn("on-the-restored-one", self.names())

    def test_the_aws_cli_knows_every_command_in_the_guide(self) -> None:
        session = Session()
        known = {"output", "query"}
        found = re.findall(r"\baws ([a-z0-9-]+) ([a-z0-9-]+)((?:.*\\\n)*.*)", GUIDE)
        self.assertGreater(len(found), 40)
        for service, name, rest in found:
            with self.subTest(f"aws {service} {name}"):
                model = session.get_service_model(service)
                [operation] = [it for it in model.operation_names if xform_name(it, "-") == name]
                members = model.operation_model(operation).input_shape.members
                options = {xform_name(it, "-") for it in members} | known
                for option in re.findall(r"--([a-z-]+)", rest.split(" | ")[0]):
                    self.assertIn(option.removeprefix("no-"), options)

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

        # Another user takes the name. A delete command with another id, such as the erased user's,
        # must not delete the new user.
        self.shell(find.replace("$(aws", "$(echo 01a20f20-8028-76b1-aae4-c77b21b19de7; : ||"))
        taken = self.create("ada").json()
        once_more = delete.replace("$id", "01a20f20-8028-76b1-aae4-c77b21b19de7")
        refused = self.shell(find, once_more.rstrip() + " 2>&1 || true")
        self.assertIn("ConditionalCheckFailedException", refused)
        page = self.call("GET", self.token, "?prefix=ada").json()
        self.assertEqual(page, [taken])

    def test_the_policy_in_the_guide_allows_its_commands_and_nothing_else(self) -> None:
        own, restored = self.resource("UsersTable"), "users-restored-2"
        self.empty_table(restored)
        [policy] = re.findall(r"```json\n(\{\n  \"Effect\".*?)```", GUIDE, re.S)
        erase = json.loads(policy.replace("REGION:ACCOUNT:table/TABLE", f"*:*:table/{own}"))
        query = erase | {"Action": "dynamodb:Query"}
        put = {**erase, "Action": "dynamodb:PutItem"}
        put["Resource"] = put["Resource"].replace(own, restored)
        names = f"since=2026-01-01T00:00:00Z own={own} restored={restored}"
        # The roles that this test creates may not read the stack's outputs, so this function
        # replaces the guide's `output`.
        table = f'output() {{ echo "{own}"; }}'

        self.create("ada")
        copy = commands("Restore the table to a point in time")[3]
        self.shell(names, copy, credentials=self.role("copies", query, put))
        copied = self.emulator.client("dynamodb").scan(TableName=restored)["Items"]
        self.assertIn("ada", [item["username"]["S"] for item in copied])
        self.shell(table, *commands("Export all users"), credentials=self.role("exports", query))
        eraser = self.role("erases", erase)
        self.shell(table, *commands("Erase a user"), credentials=eraser)
        self.assertNotIn("ada", self.names())

        client = self.emulator.client("dynamodb", **eraser)
        for refused in (
            lambda: client.put_item(TableName=own, Item=copied[0]),
            lambda: client.scan(TableName=own),
        ):
            with self.assertRaises(ClientError):
                refused()

    def role(self, name: str, *statements: dict[str, Any]) -> dict[str, str]:
        """Creates a role with these policy statements and returns its credentials."""

        def document(*statements: dict[str, Any]) -> str:
            return json.dumps({"Version": "2012-10-17", "Statement": statements})

        iam = self.emulator.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"]
        iam.put_role_policy(RoleName=name, PolicyName="it", PolicyDocument=document(*statements))
        return self.credentials_of(role["Arn"])

    def test_all_users_are_exported_and_an_interrupted_export_resumes(self) -> None:
        for name in ("Ольга", 'a"b', "zoe"):
            self.create(name)
        [export] = commands("Export all users")
        self.shell(export)
        file = Path(self.folder) / "users.jsonl"
        whole = file.read_text()
        users = [json.loads(line) for line in whole.splitlines()]
        self.assertEqual(users, self.call("GET", self.token, "?limit=1000").json())

        # Kill the export after the first page, and append an unfinished line to its file.
        begin = f"""{export.rstrip()} --rate 1 &
            until [ -e users.jsonl.progress ]; do sleep 0.1; done
            kill $!; wait || true
            printf '{{"id": "' >>users.jsonl"""
        self.shell(begin)
        self.assertNotEqual(file.read_text(), whole)
        self.shell(export)
        self.assertEqual(file.read_text(), whole)
        self.assertEqual(list(Path(self.folder).glob("*.progress*")), [])


if __name__ == "__main__":
    unittest.main()
