"""Tests that uploaded archives hold the tested binaries, but no build time and no build folder.

`make verify` runs them. To run only them, after `cargo lambda build --release` and `sam build`:

    .tools/sam/bin/python -m unittest discover -s deploy -p test_archive.py
"""

from __future__ import annotations

import os
import shutil
import tempfile
import unittest
from pathlib import Path

from emulator import ROOT, functions, released, source, zipped
from samcli.lib.package.utils import make_zip_with_lambda_permissions

# In seconds since 1970. Both are after 1980, because a ZIP archive can't hold earlier times.
TIMES = (500_000_000, 1_700_000_000)


def packaged(path: Path) -> bytes:
    """Returns the archive that `sam deploy` uploads for a folder that contains only a binary."""
    with tempfile.TemporaryDirectory() as folder:
        archive = make_zip_with_lambda_permissions(str(Path(folder) / "archive"), path.parent)
        return Path(archive).read_bytes()


class Archive(unittest.TestCase):
    def test_sam_uploads_the_binaries_that_are_tested(self) -> None:
        resources = source()["Resources"]
        for binary, function in functions(source()).items():
            [name] = [name for name, resource in resources.items() if resource == function]
            built = ROOT / ".aws-sam" / "build" / name
            self.assertEqual([file.name for file in built.iterdir()], ["bootstrap"])
            same = (built / "bootstrap").read_bytes() == released(binary).read_bytes()
            self.assertTrue(same, f"{built} is not {released(binary)}")

    def test_an_archive_does_not_tell_when_and_where_it_was_built(self) -> None:
        for binary in functions(source()):
            for archived in (packaged, zipped):
                archives = {archived(copy) for copy in self.copies(released(binary))}
                self.assertEqual(len(archives), 1, f"{archived.__name__} of {binary}")

    def copies(self, path: Path) -> list[Path]:
        """Copies a binary to two folders, with different build times."""
        copies = []
        for time in TIMES:
            folder = tempfile.mkdtemp()
            self.addCleanup(shutil.rmtree, folder)
            copy = Path(shutil.copy(path, folder))
            os.utime(copy, (time, time))
            copies.append(copy)
        return copies


if __name__ == "__main__":
    unittest.main()
