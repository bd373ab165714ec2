"""Deploys the template to an emulator of AWS (ministack).

The emulator listens on loopback only, keeps its state in a temporary folder, and ends with this
process.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent
REGION = "eu-central-1"
STACK = "users"
BUCKET = "artifacts"

# In seconds.
START_TIMEOUT = 30
DEPLOY_TIMEOUT = 120
PAUSE = 0.05


# Hide the SAM translator's warnings about feature toggles, which only AWS can configure.
logging.getLogger("samtranslator").setLevel(logging.ERROR)


class DeployError(Exception):
    """The emulator did not start, or the stack was not deployed."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """Sends a request. Returns the response even if its status is an error."""
    wanted = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    # No proxy, because the emulator runs on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        response = opener.open(wanted, timeout=30)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, names, response.read().decode())


def request_token(url: str, client: str, *scopes: str) -> str:
    """Gets an access token. `client` has the form `ID:SECRET`."""
    form = {"grant_type": "client_credentials", "scope": " ".join(scopes)}
    headers = {
        "authorization": f"Basic {base64.b64encode(client.encode()).decode()}",
        "content-type": "application/x-www-form-urlencoded",
    }
    answer = request("POST", url, urllib.parse.urlencode(form).encode(), headers)
    return answer.json()["access_token"]


def source() -> dict[str, Any]:
    """Returns template.yaml before SAM expands it."""
    return yaml_parse((ROOT / "template.yaml").read_text())


def functions(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the functions of an unexpanded template. The keys are the binaries' names."""
    return {
        resource["Metadata"]["BuildProperties"]["Binary"]: resource
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def expand(parameters: dict[str, str], prefix: str = "") -> dict[str, Any]:
    """Expands the template as SAM does. Names of uploaded archives begin with `prefix`."""
    template = source()
    # Replace each function's path with the location of its uploaded archive, as `sam package` does.
    template["Globals"]["Function"].pop("CodeUri")
    for binary, function in functions(template).items():
        function["Properties"]["CodeUri"] = {"Bucket": BUCKET, "Key": f"{prefix}{binary}.zip"}
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)

    class NoManagedPolicies:
        """Tells SAM that there are no AWS managed policies, because the template uses none."""

        def load(self) -> dict[str, str]:
            return {}

    return transform(template, dict(parameters), NoManagedPolicies())


def adapt(template: dict[str, Any]) -> list[str]:
    """Removes what the emulator does not support. Returns the removed parts with their reasons."""
    dropped = []
    for name, resource in list(template["Resources"].items()):
        kind = resource["Type"]
        # The emulator has no gradual deployments. It moves an alias in one step.
        if kind.startswith("AWS::CodeDeploy::") or name == "CodeDeployServiceRole":
            reason = "no CodeDeploy"
        # Alarms on one metric stay in the template, but the emulator gives them no data.
        elif kind == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]:
            reason = "no alarms on expressions"
        elif resource.pop("UpdatePolicy", None) is not None:
            dropped.append(f"{name}.UpdatePolicy (no CodeDeploy)")
            continue
        else:
            continue
        del template["Resources"][name]
        dropped.append(f"{name} ({reason})")
    return dropped


def released(binary: str) -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    path = target / "lambda" / binary / "bootstrap"
    if not path.is_file():
        raise DeployError(f"{path} is not built; run `cargo lambda build --release` first")
    return path


def zipped(path: Path, comment: bytes = b"") -> bytes:
    """Makes a Lambda archive of a binary.

    The archive has no build time, so the same binary always gives the same archive.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        entry = zipfile.ZipInfo("bootstrap")
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o755 << 16
        file.writestr(entry, path.read_bytes())
        file.comment = comment
    return archive.getvalue()


class Emulator:
    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.folder = Path(tempfile.mkdtemp(prefix="users-api-"))
        self.log = (self.folder / "emulator.log").open("w")
        # The functions inherit the emulator's environment variables. So the emulator gets only the
        # variables below. Of this process's variables, it gets only PATH.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            # Gives the emulator its own folders for keys and stored objects. By default, all
            # emulators of a machine use the same two folders.
            "STATE_DIR": str(self.folder / "state"),
            "S3_DATA_DIR": str(self.folder / "objects"),
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "AWS_ENDPOINT_URL": self.url,
            "MINISTACK_REGION": REGION,
            "LAMBDA_EXECUTOR": "local",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # Makes the emulator enforce IAM policies.
            "AUTH": "true",
        }
        # The guard ends the emulator when this process ends, even if this process was killed.
        guard = ROOT / "local" / "src" / "guard.sh"
        self.process = subprocess.Popen(
            ["sh", guard, Path(sys.executable).parent / "ministack"],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.session = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION
        )

    def __enter__(self) -> Emulator:
        try:
            self._wait_until_healthy()
            location = {"LocationConstraint": REGION}
            self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=location)
            self.upload()
            return self
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if request("GET", f"{self.url}/_ministack/health").status == 200:
                    return
            except OSError:
                pass
            time.sleep(PAUSE)
        log = (self.folder / "emulator.log").read_text()
        raise DeployError(f"the emulator did not start:\n{log}")

    def stop(self) -> None:
        self.process.stdin.close()
        # The guard gives the emulator a second to end, then kills its remaining processes.
        self.process.wait(timeout=5)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, service: str, **credentials: str) -> Any:
        """Returns a client of an AWS service, by default with the account's credentials."""
        return self.session.client(service, endpoint_url=self.url, **credentials)

    def upload(self, prefix: str = "", comment: bytes = b"") -> None:
        """Uploads the archives under names that begin with `prefix`.

        A ZIP comment changes the archives' bytes, as another build of the code would.
        """
        storage = self.client("s3")
        for binary in functions(source()):
            archive = zipped(released(binary), comment)
            storage.put_object(Bucket=BUCKET, Key=f"{prefix}{binary}.zip", Body=archive)

    def deploy(
        self, extra: dict[str, Any] | None = None, prefix: str = "", **parameters: str
    ) -> Stack:
        """Creates or updates the stack, with the resources in `extra` too.

        The code is in the uploaded archives whose names begin with `prefix`. Raises DeployError if
        CloudFormation rolls back.
        """
        machine = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
        parameters = {"Architecture": machine, **parameters}
        template = expand(parameters, prefix)
        dropped = adapt(template)
        template["Resources"] |= extra or {}
        formation = self.client("cloudformation")
        wanted = {
            "StackName": STACK,
            "TemplateBody": json.dumps(template),
            "Parameters": [
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
            "Capabilities": ["CAPABILITY_IAM"],
        }
        try:
            formation.describe_stacks(StackName=STACK)
        except formation.exceptions.ClientError:
            formation.create_stack(**wanted)
        else:
            formation.update_stack(**wanted)
        stack = self._wait_for_stack(formation)
        outputs = {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]}
        return Stack(self, outputs, dropped)

    def _wait_for_stack(self, formation: Any) -> dict[str, Any]:
        deadline = time.monotonic() + DEPLOY_TIMEOUT
        while time.monotonic() < deadline:
            stack = formation.describe_stacks(StackName=STACK)["Stacks"][0]
            status = stack["StackStatus"]
            if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
                return stack
            if not status.endswith("_IN_PROGRESS"):
                events = formation.describe_stack_events(StackName=STACK)["StackEvents"]
                reasons = [
                    f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
                    for event in events
                    if event["ResourceStatus"].endswith("_FAILED")
                ]
                raise DeployError("\n".join([f"the stack is {status}", *reasons]))
            time.sleep(PAUSE)
        raise DeployError(f"the stack was not deployed in {DEPLOY_TIMEOUT} s")


@dataclass(frozen=True)
class Stack:
    emulator: Emulator
    outputs: dict[str, str]
    # The parts of the template that the emulator does not support.
    dropped: list[str]

    @property
    def users_url(self) -> str:
        """The URL of /api/users on the emulator.

        All APIs of the emulator have the same host, so the API's ID is in the path.
        """
        api = self.outputs["ApiUrl"].removeprefix("https://").split(".")[0]
        return f"{self.emulator.url}/_aws/execute-api/{api}/$default/api/users"

    @property
    def token_url(self) -> str:
        """The emulator's token endpoint, which all domains of user pools share."""
        return f"{self.emulator.url}/oauth2/token"

    @property
    def user_pool(self) -> str:
        return self.outputs["Issuer"].rsplit("/", 1)[1]

    def client_secret(self) -> str:
        cognito = self.emulator.client("cognito-idp")
        client = cognito.describe_user_pool_client(
            UserPoolId=self.user_pool, ClientId=self.outputs["ClientId"]
        )
        return client["UserPoolClient"]["ClientSecret"]

    def token(self, *scopes: str) -> str:
        client = f"{self.outputs['ClientId']}:{self.client_secret()}"
        return request_token(self.token_url, client, *scopes)
