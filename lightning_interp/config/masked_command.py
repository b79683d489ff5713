# SPDX-License-Identifier: Apache-2.0
"""A command line as it may be kept: whatever could be a secret is left out."""

import re
from collections.abc import Sequence

MASK = "***"
MOST_WORDS, MOST_CHARACTERS = 200, 500
"""Words of a command line that are kept, and characters of each."""

_ANYWHERE = {"secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials", "apikey", "bearer"}
_LAST = {"token", "tokens", "key", "keys", "pass", "pwd", "pw", "pat", "auth", "authorization", "cookie"}
_COMPOUND = re.compile(r"(api|access|secret|private|auth|service|account|session)(key|token)s?$")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PAIR = re.compile(r"""(?P<name>[A-Za-z_][\w.-]*)["']?\s*[=:]\s*["']?(?=[^\s"'/])""")
_TELLTALE = re.compile(
    r"""
    (?<=://)[^/\s@]+(?=@)                       # user and password of an address
    | \b(sk|pk|rk)[-_][\w-]{16,} | \bhf_\w{16,} | \bgh[opusr]_\w{16,} | \bgithub_pat_\w{16,} | \bglpat-[\w-]{16,}
    | \bxox[a-z]-[\w-]{10,} | \bA[KS]IA[0-9A-Z]{12,} | \bAIza[\w-]{30,} | \blocal-[0-9a-f]{40} | \bwandb_v1_\w{16,}
    | \beyJ[\w-]{8,}\.[\w-]+\.[\w-]*            # JSON web token
    | (?<![0-9A-Za-z])[0-9a-f]{40}(?![0-9A-Za-z])  # the form of W&B's keys, and of a commit's hash
    | -----BEGIN .*
    """,
    re.VERBOSE | re.DOTALL,
)


def masked(command: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line with ``***`` for what follows a name such as ``--api-key``, or looks like a key itself.

    Rather too much than too little: what is masked in vain can be looked up by whoever started the command.

    >>> masked(["train.py", "--lr=0.1", "--api-key=abc", "--token", "xyz", "data://me:pw@host"])
    ('train.py', '--lr=0.1', '--api-key=***', '--token', '***', 'data://***@host')
    """
    words, hides_next = [], False
    for word in map(str, command[:MOST_WORDS]):
        if hides_next and not word.startswith("--"):
            words.append(MASK)
        else:
            words.append(_shortened(_masked_word(word)))
        hides_next = word.startswith("-") and "=" not in word and is_secret(word.lstrip("-"))
    return (*words, "…") if len(command) > MOST_WORDS else tuple(words)


def is_secret(name: str) -> bool:
    """Whether an option, a variable or a key of this name may hold a secret.

    >>> [is_secret(name) for name in ("WANDB_API_KEY", "hfToken", "trainer.max_steps", "db.password_file", "tokenizer")]
    [True, True, False, True, False]
    """
    words = [word.lower() for word in _WORD.findall(name)]
    return bool(words) and (not _ANYWHERE.isdisjoint(words) or words[-1] in _LAST or bool(_COMPOUND.search(words[-1])))


def _masked_word(word: str) -> str:
    """One word; behind a name of a secret nothing of it is kept."""
    for pair in _PAIR.finditer(word):
        if is_secret(pair["name"]):
            word = word[: pair.end()] + MASK
            break
    return _TELLTALE.sub(MASK, word)


def _shortened(word: str) -> str:
    """The word without what could not be written as text, as of file names in another encoding."""
    word = word.encode("utf-8", "backslashreplace").decode()
    return word if len(word) <= MOST_CHARACTERS else f"{word[:MOST_CHARACTERS]}…"
