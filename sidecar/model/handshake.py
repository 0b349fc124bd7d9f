"""How a deployment recognises its own webhook from outside: the answer to a handshake of its own carries a proof.

Microsoft's handshakes have other tokens, and their answers stay as Microsoft wants them. The proof says that a process over
this very store has answered; it opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac

OWN_TOKEN_PREFIX = "exchange-sidecar-test "  # noqa: S105  (how our own handshakes begin; the blank must survive the way)
PROOF_HEADER = "x-exchange-sidecar-proof"


def is_own_token(token: str) -> bool:
    """Tell whether a handshake is one of ours."""
    return token.startswith(OWN_TOKEN_PREFIX)


def prove(store_id: str, token: str) -> str:
    """Return what only a process over this store can answer to a token: 64 hexadecimal digits."""
    return hmac.new(f"webhook {store_id}".encode(), token.encode(), hashlib.sha256).hexdigest()
