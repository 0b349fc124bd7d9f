"""How unkind the emulated service is: one number per mood, all of them settable while it runs, for everybody or one tenant."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from sidecar.emulator.bounds import SECONDS_MAX, Seconds

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Wait = Annotated[float, msgspec.Meta(ge=0.1, le=SECONDS_MAX)]
"""Between two attempts; without any, an endpoint that refuses at once would be called for hours without a pause."""


class Moods(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every mood. The defaults are the unkind ones; `calm_moods` gives the others. Shares are from 0 to 1."""

    notify_delay_min_s: Seconds = 0.0
    notify_delay_max_s: Seconds = 2.0
    notify_duplicate_share: Share = 0.1
    """Share of notifications that are sent twice."""
    notify_shuffle_share: Share = 0.2
    """Share of batches whose items are out of order; unequal delays reorder batches besides."""
    notify_late_share: Share = 0.02
    """Share of notifications that are late besides."""
    notify_late_max_s: Seconds = 20.0
    """How late those are at most; Microsoft speaks of three minutes."""
    notify_spelling_share: Share = 0.3
    """Share, for each in itself, of items with an `id`, with the short form of the expiry, and with a lower-case resource."""
    notify_echo_share: Share = 0.2
    """Share of room answers that cause one more `updated` with nothing changed."""
    room_delay_min_s: Seconds = 1.0
    room_delay_max_s: Seconds = 3.0
    attendant_race_share: Share = 0.1
    """Share of PATCHes to a meeting a room has yet to answer that are refused with 412, because the room answers first."""
    places_propagation_s: Seconds = 0.0
    """Until a new or changed room shows in /places; Microsoft documents up to a day."""
    throttle_share: Share = 0.02
    """Share of reads refused with 429 and Retry-After 1."""
    unavailable_share: Share = 0.01
    """Share of reads refused with 503."""
    small_page_share: Share = 0.3
    """Share of pages that come back smaller than asked, with a next link."""
    novelty_share: Share = 0.05
    """Share of events written with a property no client knows yet."""
    delta_empty_page_share: Share = 0.1
    """Share of delta pages that come back empty, with a next link."""
    delta_repeat_share: Share = 0.1
    """Share of items told twice in one delta round."""
    delta_whole_series_share: Share = 0.5
    """Share of delta pages that go on to the end of the series they are in, whatever size was asked for."""
    delta_odd_expiry_share: Share = 0.3
    """Share of expired delta links refused in another way than 410 SyncStateNotFound."""
    delta_token_lifetime_s: Seconds = 7 * 24 * 3600.0
    """After which a delta link expires; 0 is never."""
    latency_min_s: Seconds = 0.0
    latency_max_s: Seconds = 0.02
    mailbox_concurrency_max: Annotated[int, msgspec.Meta(ge=0)] = 4
    """Requests of one app on one mailbox at one time; 0 is no limit."""
    retry_after_missing_share: Share = 0.2
    """Share of those random refusals that do not say when to come back."""
    flaky_token_share: Share = 0.001
    """Share of reads refused with 401 although the token is good, as if one server among many could not check it."""
    roleless_unauthorized_share: Share = 0.1
    """Share of calls without any role that are refused with 401 instead of 403."""
    batch_shuffle_share: Share = 0.5
    """Share of batches whose answers are out of order."""
    token_lifetime_min_s: Seconds = 3599.0
    token_lifetime_max_s: Seconds = 5399.0
    login_line_break_share: Share = 0.5
    """Share of the login server's refusals whose text is broken into lines."""
    secret_propagation_s: Seconds = 0.0
    """How long the login server does not know a new secret yet."""
    gzip_bytes_min: Annotated[int, msgspec.Meta(ge=0)] = 2048
    """Size of the smallest answer that is compressed for a client that accepts it; 0 compresses none."""
    documented_limits: bool = True
    """Whether requests beyond Microsoft's documented limits are refused; limits set by control are enforced anyway."""
    retry_first_s: Wait = 10.0
    retry_max_s: Wait = 1800.0
    retry_for_s: Seconds = 4 * 3600.0
    """For how long a notification that nobody took is sent again."""
    endpoint_responses_min: Annotated[int, msgspec.Meta(ge=1)] = 100
    """How many answers within ten minutes let an endpoint be called slow."""
    drop_missed_share: Share = 0.5
    """Share of subscriptions that are told `missed` when their endpoint's notifications were dropped."""
    reauthorize_share: Share = 1.0
    """Share of the due `reauthorizationRequired` that are sent; 0 turns them off, apart from those sent by control."""
    authorization_grace_s: Seconds = 1800.0
    """For how long notifications still flow once the token behind a subscription has expired."""
    pause_loss_share: Share = 0.5
    """Share of changes lost while a subscription's authorization has run out; the others are held."""
    access_check_s: Annotated[float, msgspec.Meta(ge=1, le=SECONDS_MAX)] = 900.0
    """How often it is checked that an app may still read what it subscribed to."""
    access_removal_s: Seconds = 3600.0
    """How long after the first such check that failed a subscription is removed."""
    inconsistent_loss_share: Share = 0.5
    """Share of notifications lost for a subscription that was changed and reauthorized within ten minutes."""
    renewal_handshake_share: Share = 0.0
    """Share of renewals without a new URL that shake hands all the same."""


def with_moods(base: Moods, changes: Mapping[str, Any]) -> Moods:  # Any: numbers and flags, by the mood's name
    """Give moods of which some are changed.

    Raises:
        msgspec.ValidationError: a name is not a mood's, or a value not within its bounds.
    """
    return msgspec.convert({**msgspec.to_builtins(base), **changes}, Moods)


def calm_moods() -> Moods:
    """Give the moods of a good day: quick, in order, once, nothing refused at random."""
    return Moods(
        notify_delay_min_s=0.05,
        notify_delay_max_s=0.05,
        notify_duplicate_share=0.0,
        notify_shuffle_share=0.0,
        notify_late_share=0.0,
        notify_spelling_share=0.0,
        notify_echo_share=0.0,
        room_delay_min_s=0.3,
        room_delay_max_s=0.3,
        attendant_race_share=0.0,
        throttle_share=0.0,
        unavailable_share=0.0,
        small_page_share=0.0,
        novelty_share=0.0,
        delta_empty_page_share=0.0,
        delta_repeat_share=0.0,
        delta_whole_series_share=0.0,
        delta_odd_expiry_share=0.0,
        delta_token_lifetime_s=0.0,
        latency_max_s=0.0,
        drop_missed_share=1.0,
        authorization_grace_s=7 * 86400.0,  # longer than any subscription lives
        pause_loss_share=0.0,
        inconsistent_loss_share=0.0,
        retry_after_missing_share=0.0,
        flaky_token_share=0.0,
        roleless_unauthorized_share=0.0,
        batch_shuffle_share=0.0,
        token_lifetime_min_s=4499.0,
        token_lifetime_max_s=4499.0,
        login_line_break_share=0.0,
        gzip_bytes_min=0,
        documented_limits=False,
    )
