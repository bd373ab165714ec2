"""Checks which personal names from a public library the service refuses as usernames, and why.

The library is Faker. The test takes the names of all Faker's locales, in native scripts and in
Latin letters, and keeps the names of one word that have a character outside ASCII. `make names`
runs the test and prints the refused names.
"""

# ruff: noqa: RUF001 - these names contain characters that look like ASCII characters

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import unittest
from pathlib import Path

import faker.providers.person

ROOT = Path(__file__).resolve().parents[2]

# In REFUSED, each name has its error code and an explanation of its spelling.
JOINER = "an invisible joiner that joins nothing: the name looks the same without it"
MARK_FIRST = "a typing error: the vowel sign stands before its letter"
EPSILON = "a typing error: ε is Greek, and Twi has ɛ (U+025B)"
REFUSED = {
    "Akyerε": ("mixed-scripts", EPSILON),
    "Akyerεko": ("mixed-scripts", EPSILON),
    "Васовa": ("mixed-scripts", "a typing error: the last letter is a Latin a"),
    "வருண்குமாH": ("mixed-scripts", "a typing error: the last letter is a Latin H"),
    "N˜zamett˜n": ("disallowed-character", "a damaged text: it was Nizamettin"),
    "دراجـي": ("disallowed-character", "a tatweel, which only stretches the word"),
    "िकशोरी": ("disallowed-character", MARK_FIRST),
    "िनशा": ("disallowed-character", MARK_FIRST),
    "ड\u200cंगोल": ("disallowed-character", JOINER),
    "मानन\u200dधर": ("disallowed-character", JOINER),
    "र\u200cजितकार": ("disallowed-character", JOINER),
    "सिं\u200cखडा": ("disallowed-character", JOINER),
    "सि\u200cह": ("disallowed-character", JOINER),
    "स\u200cंजय": ("disallowed-character", JOINER),
}


def names() -> tuple[int, set[str]]:
    """Returns the number of locales, and the names to test."""
    locales = [
        importlib.import_module(f"{faker.providers.person.__name__}.{module.name}").Provider
        for module in pkgutil.iter_modules(faker.providers.person.__path__)
        if module.ispkg
    ]
    found = set()
    for locale in locales:
        for attribute in dir(locale):
            entries = getattr(locale, attribute)
            if "name" not in attribute or not isinstance(entries, (list, tuple, dict)):
                continue
            # These are names of languages, not of people.
            if attribute.startswith("language"):
                continue
            for entry in entries:
                # Some entries contain one name in several scripts.
                found.update([entry] if isinstance(entry, str) else entry)
    words = {name.strip() for name in found}
    return len(locales), {name for name in words if not name.isascii() and len(name.split()) == 1}


def refusals(usernames: list[str]) -> dict[str, tuple[str, str]]:
    """Returns the error code and the error message of each refused username."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    output = subprocess.run(
        [ROOT / target / "debug" / "examples" / "usernames"],
        input="".join(f"{username}\n" for username in usernames).encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()
    lines = [line.split("\t") for line in output.split("\n")[:-1]]
    return {username: (code, sentence) for code, username, sentence in lines}


class PersonalNames(unittest.TestCase):
    maxDiff = None

    def test_all_but_a_few_known_names_are_valid_usernames(self) -> None:
        locales, people = names()
        refused = refusals(sorted(people))
        accepted = len(people) - len(refused)
        print(
            f"\n{len(people):,} names of {locales} locales: {accepted:,} are usernames "
            f"({100 * accepted / len(people):.3f} %), {len(refused)} are refused:\n"
        )
        for name, (code, sentence) in sorted(refused.items()):
            _, reason = REFUSED.get(name, ("", "UNKNOWN"))
            print(f"{name}  {name!a}\n    {code}: {sentence}\n    {reason}")
        self.assertEqual(
            {name: code for name, (code, _) in refused.items()},
            {name: code for name, (code, _) in REFUSED.items()},
        )
        # These counts show that the test has read the whole library.
        self.assertEqual(locales, 86)
        self.assertEqual(len(people), 25_963)


if __name__ == "__main__":
    unittest.main()
