"""The source is searched for secrets that somebody wrote into it by mistake.

Only what has a form of its own is looked for: keys, tokens of known services, passwords in URLs, our own tokens. Long random
words and fields called "secret" are everywhere in these tests, and looking for them would find nothing else.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

from sidecar.api.callers import TOKEN_PREFIX
from sidecar.cli.processes import ProcessFailed

ROOT = Path(__file__).parents[2]
KINDS = (
    *("AWSKeyDetector", "ArtifactoryDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "CloudantDetector"),
    *("DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "MailchimpDetector"),
    *("NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector"),
    *("SoftlayerDetector", "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector"),
)
OUR_TOKEN = re.compile(r"exs_[A-Za-z0-9_-]{43}")
KNOWN = {
    ("README.md", "Basic Auth Credentials"),
    ("helm/README.md", "Basic Auth Credentials"),
    ("helm/exchange-sidecar-lib/README.md", "Basic Auth Credentials"),
    ("sidecar/settings.py", "Basic Auth Credentials"),
    ("sidecar/store/postgres_link.py", "Basic Auth Credentials"),
    ("tests/e2e/test_cli.py", "Basic Auth Credentials"),
    ("tests/unit/api/test_proofs.py", "Private Key"),
    ("tests/unit/graph/test_auth.py", "Private Key"),
    ("tests/unit/store/test_postgres.py", "Basic Auth Credentials"),
    ("tests/unit/test_settings.py", "Basic Auth Credentials"),
}
"""Examples in documents, and the first line of a key with nothing behind it."""


def _sources() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise ProcessFailed(f"git does not list the source: {listed.stderr}")
    return [name for name in listed.stdout.split("\0") if name and not name.endswith(".lock") and "/gen/" not in name]


def _found(names: Iterable[str], folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what looks like a secret in files: the file's name, and what it looks like."""
    with transient_settings({"plugins_used": [{"name": name} for name in KINDS]}):
        for name in names:
            yield from ((name, secret.type) for secret in scan_file(str(folder / name)))
            if OUR_TOKEN.search((folder / name).read_text(errors="replace")):
                yield name, "our token"


def test_source_holds_nothing_that_looks_like_a_secret() -> None:
    """What is known and harmless is named, and is still there."""
    found = set(_found(_sources(), ROOT))
    assert found - KNOWN == set(), "these look like secrets"
    assert KNOWN - found == set(), "these are there no more: take them from the list"


@pytest.mark.parametrize(
    "text",
    [
        f"{TOKEN_PREFIX}{'a1B2c3D4' * 6}"[:47],
        "postgresql://app:" + "hunter2x@db/exchange",
        "-----BEGIN " + "PRIVATE KEY-----",
        "gh" + "p_" + "a1B2c3D4e5" * 3 + "f6G7h8",
    ],
)
def test_secret_in_a_file_is_found(tmp_path: Path, text: str) -> None:
    """The search can find something."""
    (tmp_path / "settings.py").write_text(f'VALUE = "{text}"\n')
    assert list(_found(["settings.py"], tmp_path))
