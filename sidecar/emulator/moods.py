"""How unkind the emulated service is: one number per mood, all of them settable while it runs."""

from typing import Annotated

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Moods(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every mood. The defaults are the unkind ones; `calm_moods` gives the others. Shares are from 0 to 1."""

    notify_delay_min_s: Seconds = 0.0
    notify_delay_max_s: Seconds = 2.0
    notify_duplicate_share: Share = 0.1
    """Share of notifications that are sent twice."""
    notify_shuffle_share: Share = 0.2
    """Share of batches whose items are out of order; unequal delays reorder batches besides."""
    notify_echo_share: Share = 0.2
    """Share of room answers that cause one more `updated` with nothing changed."""
    room_delay_min_s: Seconds = 1.0
    room_delay_max_s: Seconds = 3.0
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
    retry_first_s: Seconds = 10.0
    retry_max_s: Seconds = 1800.0
    retry_for_s: Seconds = 4 * 3600.0
    """For how long a notification that nobody took is sent again."""


def calm_moods() -> Moods:
    """Give the moods of a good day: quick, in order, once, nothing refused at random."""
    return Moods(
        notify_delay_min_s=0.05,
        notify_delay_max_s=0.05,
        notify_duplicate_share=0.0,
        notify_shuffle_share=0.0,
        notify_echo_share=0.0,
        room_delay_min_s=0.3,
        room_delay_max_s=0.3,
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
    )
