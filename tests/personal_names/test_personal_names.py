"""Checks which personal names from a public library the service refuses as usernames, and why.

The library is Faker. The test takes the given, family and middle names of all Faker's locales, in
native scripts and in Latin letters. It strips the spaces around names, and keeps names of one word
that have a character outside ASCII. `make names` runs the test and prints the refused names.
"""

# ruff: noqa: RUF001 - names of people, as they are written

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import unittest
from pathlib import Path

import faker.providers.person

ROOT = Path(__file__).resolve().parents[2]

# All refused names, each with the error code and an explanation from the name's language.
JOINER = "invisible: it joins nothing here, and the name without it looks the same"
MARK_FIRST = "a typing error: the vowel sign stands before the letter that carries it"
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
    """Returns the number of the library's locales, and the names to test."""
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
            # Names of languages are not names of people.
            if attribute.startswith("language"):
                continue
            for entry in entries:
                # Some entries hold one name in two scripts.
                found.update([entry] if isinstance(entry, str) else entry)
    words = {name.strip() for name in found}
    return len(locales), {name for name in words if not name.isascii() and len(name.split()) == 1}


def refusals(usernames: list[str]) -> dict[str, tuple[str, str]]:
    """Returns the error's code and sentence for each refused username."""
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

    def test_every_name_is_a_username_but_for_a_few_with_a_reason(self) -> None:
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
        # These counts show that the test read the whole library.
        self.assertEqual(locales, 86)
        self.assertEqual(len(people), 25_963)


if __name__ == "__main__":
    unittest.main()
