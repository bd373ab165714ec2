"""Tests clients generated from openapi.yaml, and the requests in docs/requests.http.

`make verify` runs these tests. To run only these tests, install the tools, build the local run, and
run:

    .tools/python-client/bin/python -m unittest discover -s tests/clients -p "test_*.py"
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute()
CLIENTS = TARGET / "clients"
TYPESCRIPT = ROOT / ".tools" / "typescript-client" / "node_modules"

# How many seconds a command may take, and how many seconds the service may take to start.
PATIENCE = 300


class Clients(unittest.TestCase):
    url: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        data = tempfile.TemporaryDirectory()
        cls.addClassCleanup(data.cleanup)
        log = Path(data.name) / "local.log"
        # The service exits when its parent process, this test, ends.
        with log.open("w") as output:
            service = subprocess.Popen(
                [TARGET / "debug" / "local"],
                cwd=ROOT,
                # Port 0 means any free port.
                env=os.environ | {"PORT": "0", "PAGE_PORT": "0", "DATA_DIR": data.name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

        def stop() -> None:
            service.terminate()
            service.wait(timeout=30)

        cls.addClassCleanup(stop)
        started = time.monotonic()
        ready = re.compile(r"^The users API is ready at (.*)/api/users$", re.MULTILINE)
        while not (url := ready.search(printed := log.read_text(errors="replace"))):
            assert service.poll() is None, printed
            assert time.monotonic() - started < PATIENCE, printed
            time.sleep(0.1)
        cls.url = url.group(1)

    def run_in(self, folder: Path, *command: str | Path, **environment: str) -> str:
        ran = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(ran.returncode, 0, ran.stdout)
        return ran.stdout

    def test_each_request_in_the_document_gets_the_status_in_its_title(self) -> None:
        variables: dict[str, str] = {}
        titles, *requests = re.split(
            r"^### ", (ROOT / "docs/requests.http").read_text(), flags=re.M
        )
        for name, value in re.findall(r"^@(\w+) = (.*)$", titles, re.MULTILINE):
            variables[name] = value
        # All tests share one service, so this test needs a username that no other test creates.
        variables |= {"host": self.url, "username": "joan"}
        self.assertEqual(len(requests), 6)
        for request in requests:
            for name, value in variables.items():
                request = request.replace(f"{{{{{name}}}}}", value)
            head, _, body = request.strip().partition("\n\n")
            title, line, *headers = head.splitlines()
            method, url = line.split()
            sent = urllib.request.Request(
                url,
                data=body.encode() or None,
                headers=dict(header.split(": ", 1) for header in headers),
                method=method,
            )
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            try:
                status = opener.open(sent, timeout=60).status
            except urllib.error.HTTPError as error:
                status = error.code
                error.close()
            self.assertIn(f": {status}", title)

    def test_a_generated_typescript_client_compiles_and_works(self) -> None:
        folder = CLIENTS / "typescript"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "node_modules").symlink_to(TYPESCRIPT)
        (folder / "package.json").write_text('{"type": "module"}\n')
        for file in ("smoke.ts", "tsconfig.json"):
            shutil.copy(HERE / file, folder)
        programs = folder / "node_modules" / ".bin"
        contract = ROOT / "openapi.yaml"
        self.run_in(folder, programs / "openapi-typescript", contract, "--output", "schema.ts")
        self.run_in(folder, programs / "tsc")
        self.run_in(folder, "node", "smoke.ts", self.url)

    def test_a_generated_python_client_has_every_schema_and_works(self) -> None:
        folder = CLIENTS / "python"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "settings.yaml").write_text("literal_enums: true\n")
        printed = self.run_in(
            folder,
            Path(sys.executable).parent / "openapi-python-client",
            "generate",
            "--fail-on-warning",
            *("--path", ROOT / "openapi.yaml"),
            *("--output-path", "generated"),
            *("--config", "settings.yaml"),
        )
        # If the generator does not support a schema, it omits the schema and prints this warning.
        self.assertNotIn("Unable to", printed)
        generated = str(folder / "generated")
        self.run_in(folder, sys.executable, HERE / "smoke.py", self.url, PYTHONPATH=generated)


if __name__ == "__main__":
    unittest.main()
