"""docs/extending.md, followed to the letter in a copy of the workspace: its blocks change the files
that they name, and its commands are run and must print what stands below them.

Run by `make verify`; alone, when its tools are installed:

    .tools/python/bin/python -m unittest discover -s tools -p test_extending.py

What starts the service is left out: one of the tests that the document adds does it too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import unittest
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "extending.md"

# The copy stays, so that cargo builds only what has changed since the last time.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute() / "extending"

# A block, and the line before it that names its file if it has one.
BLOCK = re.compile(r"(?:^`([^`\n]+)`(, new)?:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What starts a service that runs until it is stopped, or asks one.
NOT_RUN = ("make ", "curl ")

# How long a command may take, in seconds. The first time, cargo builds everything.
PATIENCE = 3600


class GuideError(Exception):
    """The guide does not fit the workspace. The text is for people."""


@dataclass(frozen=True)
class Block:
    """A block of the guide."""

    line: int
    language: str
    text: str
    file: str | None
    is_new: bool


def blocks(guide: str) -> list[Block]:
    """The blocks of the guide, in their order."""
    found = []
    for match in BLOCK.finditer(guide):
        file, is_new, language, text = match.groups()
        line = guide.count("\n", 0, match.start(4))
        found.append(Block(line, language, text, file, is_new is not None))
    return found


def changed(text: str, diff: str, where: str) -> str:
    """A file's text with the changes of a block, each of which must fit at exactly one place."""
    for change in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = change.splitlines(keepends=True)
        # An empty line of the file may be empty in the block too.
        before = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
        after = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
        # Only whole lines.
        places = [at.start() for at in re.finditer("^" + re.escape(before), text, re.MULTILINE)]
        if len(places) != 1:
            raise GuideError(f"{where}: these lines are there {len(places)} times:\n{before}")
        [place] = places
        text = text[:place] + after + text[place + len(before) :]
    return text


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """The commands of a block, each with the lines that it prints."""
    if block.language == "sh":
        return [(block.text, [])]
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def missing(printed: str, expected: list[str]) -> str | None:
    """The first of the expected lines that was not printed after the one before it."""
    place = 0
    for line in expected:
        # An ellipsis stands for anything.
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        match = re.compile(pattern).search(printed, place)
        if match is None:
            return line
        place = match.end()
    return None


def files(source: Path) -> list[Path]:
    """The files of the copy itself, and not of the tools that it is linked to."""
    found = [path for path in source.rglob("*") if path.is_file()]
    return [path for path in found if path.relative_to(source).parts[0] != ".tools"]


def copy(source: Path) -> None:
    """Makes a folder a copy of the workspace, and leaves alone what is the same in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    for path in files(source):
        if str(path.relative_to(source)) not in names:
            path.unlink()
    for name in names:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, path)
    # The project may have moved since the last walk.
    tools = source / ".tools"
    tools.unlink(missing_ok=True)
    tools.symlink_to(ROOT / ".tools")


class Guide(unittest.TestCase):
    def test_a_third_function_is_what_the_guide_says(self) -> None:
        source = TARGET / "source"
        # What the last walk left, by its content: cargo goes by the time of a file.
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files(source)}
        copy(source)
        steps = blocks(GUIDE.read_text())
        self.assertGreater(len(steps), 20)
        first, *others = steps
        try:
            self.change(source, first)
        except GuideError as error:
            raise GuideError(
                f"{error}\nIf the guide is applied already, delete it as its last section says."
            ) from error
        ran = 0
        for step in others:
            self.change(source, step)
            if step.language == "console":
                for path, (content, time) in before.items():
                    if path.is_file() and path.read_bytes() == content:
                        os.utime(path, ns=(time, time))
                ran += self.check(source, step)
        self.assertGreater(ran, 5)

    def change(self, source: Path, step: Block) -> None:
        """Does to the copy what a block says."""
        where = f"{GUIDE.name}, line {step.line}"
        if step.language == "sh":
            [(script, _)] = commands(step)
            self.run_in(source, script, [], where)
        if step.file is None:
            return
        path = source / step.file
        if step.is_new:
            if path.exists():
                raise GuideError(f"{where}: {step.file} is there already")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text)
        else:
            path.write_text(changed(path.read_text(), step.text, f"{where}: {step.file}"))

    def check(self, source: Path, step: Block) -> int:
        """Runs the commands of a block, and gives their number."""
        ran = 0
        for command, expected in commands(step):
            if not command.startswith(NOT_RUN):
                self.run_in(source, command, expected, f"{GUIDE.name}, line {step.line}")
                ran += 1
        return ran

    def run_in(self, source: Path, script: str, expected: list[str], where: str) -> None:
        print(f"{where}: {script.splitlines()[0]}", flush=True)
        environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET / "target")}
        ran = subprocess.run(
            ["bash", "-euc", script],
            cwd=source,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(ran.returncode, 0, f"{where}: {script}\n{ran.stdout}")
        lacks = missing(ran.stdout, expected)
        self.assertIsNone(lacks, f"{where}: {script}\n{ran.stdout}")

    def test_a_change_fits_at_one_place_or_is_refused(self) -> None:
        text = "one\ntwo\n\ntwo\nthree\n"
        self.assertEqual(
            changed(text, " one\n+new\n two\n@@\n-three\n", ""), "one\nnew\ntwo\n\ntwo\n"
        )
        for diff in (" four\n+five\n", "+five\n two\n", "-hree\n"):
            with self.assertRaises(GuideError):
                changed(text, diff, "")

    def test_what_is_not_printed_is_missed(self) -> None:
        printed = "Finished in 3 s\nok\n"
        self.assertIsNone(missing(printed, ["Finished in … s", "ok"]))
        self.assertEqual(missing(printed, ["ok", "Finished"]), "Finished")


if __name__ == "__main__":
    unittest.main()
