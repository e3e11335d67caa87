"""Whether a queue may be purged: the operator must have seen what is there now.

The brain makes a token from the queue's name and the depth that the operator saw; the
agent measures the depth itself and makes the same token. So a purge that was confirmed for
5 messages does not delete 5000. Pure, and the same for every engine.
"""

from __future__ import annotations

import hashlib
import hmac

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.rules import LocalRules
from z4j_otel.wire.signing import purge_token

__all__ = ["check_purge"]


def check_purge(rules: LocalRules, queue: str, depth: int, token: str | None) -> None:
    """Refuse a purge that nobody confirmed for this very depth, or that is too big.

    Args:
        rules: The secret, the threshold and whether old tokens count.
        queue: The queue's name.
        depth: How many messages wait in it now.
        token: What came with the command, or None.

    Raises:
        CommandRefused: It must not be purged; the text says what to do instead.
    """
    if token is None:
        raise CommandRefused(
            f"confirm_token is missing; look at queue {queue} again (it has {depth} messages"
            " now) and confirm the purge, or force it"
        )
    if not _is_confirmed(rules, queue, depth, token):
        raise CommandRefused(
            f"the purge was not confirmed for what is there: queue {queue} has {depth} messages"
            " now; look again and confirm this depth, or force the purge"
        )
    if depth > rules.purge_threshold:
        raise CommandRefused(
            f"queue {queue} has {depth} messages, more than the {rules.purge_threshold} of"
            " Z4J_PURGE_THRESHOLD; force the purge, or raise the threshold"
        )


def _is_confirmed(rules: LocalRules, queue: str, depth: int, token: str) -> bool:
    if not token.isascii():
        return False
    is_good = False
    if rules.purge_secret:
        is_good = hmac.compare_digest(purge_token(rules.purge_secret, queue, depth), token)
    if rules.accepts_legacy_purge_token:
        legacy = hashlib.sha256(f"purge|{queue}|{depth}".encode()).hexdigest()
        is_good |= hmac.compare_digest(legacy, token)
    return is_good
