"""How an endpoint's answers make it slow, or have its notifications dropped. Decisions only; nothing is sent from here.

The states belong to a host, so that one slow path of it punishes all others.

Source: Graph "Receive change notifications through webhooks" page (more than 10 % of the answers over 3 s in 10 minutes: new
notifications 10 minutes late; more than 15 % over 10 s: dropped for 10 minutes, then probes). That a share counts only from
100 answers on is in the page's text of 2023.
"""

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sidecar.emulator.notify.state import Endpoint, EndpointState

PENALTY = timedelta(minutes=10)
_WINDOW = timedelta(minutes=10)
_SLOW_AFTER_S, _SLOW_SHARE = 3.0, 0.10
_DROP_AFTER_S, _DROP_SHARE = 10.0, 0.15
_PROBES_MAX = 5


def host_of(url: str) -> str:
    """Give the host that a URL's answers count for."""
    return urlsplit(url).netloc.lower().rpartition("@")[2]


def note_response(endpoint: Endpoint, *, took_s: float, is_probe: bool, now: datetime, responses_min: int) -> None:
    """Count an answer, or its absence, and let the endpoint's state follow; out of a drop only the answer to a probe leads."""
    if endpoint.state is EndpointState.GOOD and now - endpoint.window_started_at >= _WINDOW:
        _open_window(endpoint, now)
    endpoint.responses_count += 1
    endpoint.over_3_s_count += took_s >= _SLOW_AFTER_S
    endpoint.over_10_s_count += took_s >= _DROP_AFTER_S
    if endpoint.state is EndpointState.DROP:
        if endpoint.is_probing and is_probe:
            _enter(endpoint, EndpointState.DROP if took_s >= _DROP_AFTER_S else EndpointState.GOOD, now)
    elif endpoint.responses_count >= responses_min:
        if _drops(endpoint):
            _enter(endpoint, EndpointState.DROP, now)
        elif endpoint.state is EndpointState.GOOD and _is_slow(endpoint):
            _enter(endpoint, EndpointState.SLOW, now)


def end_penalty(endpoint: Endpoint, now: datetime) -> None:
    """Judge an endpoint whose penalty is over: a slow one by what it answered meanwhile, a dropping one by its next answer."""
    if endpoint.until is None or now < endpoint.until:
        return
    if endpoint.state is EndpointState.SLOW:
        stays = not endpoint.responses_count or _is_slow(endpoint)
        _enter(endpoint, EndpointState.SLOW if stays else EndpointState.GOOD, now)
    elif not endpoint.is_probing:
        _open_window(endpoint, now)
        endpoint.until, endpoint.is_probing, endpoint.probes_left_count = None, True, _PROBES_MAX


def lets_through(endpoint: Endpoint) -> bool:
    """Tell whether a POST may be made; in a drop state that uses up a probe."""
    if endpoint.state is not EndpointState.DROP:
        return True
    if not endpoint.probes_left_count:
        return False
    endpoint.probes_left_count -= 1
    return True


def _enter(endpoint: Endpoint, state: EndpointState, now: datetime) -> None:
    endpoint.state = state
    endpoint.until = None if state is EndpointState.GOOD else now + PENALTY
    endpoint.is_probing, endpoint.probes_left_count = False, 0
    _open_window(endpoint, now)


def _open_window(endpoint: Endpoint, now: datetime) -> None:
    endpoint.window_started_at = now
    endpoint.responses_count = endpoint.over_3_s_count = endpoint.over_10_s_count = 0


def _is_slow(endpoint: Endpoint) -> bool:
    return endpoint.over_3_s_count > _SLOW_SHARE * endpoint.responses_count


def _drops(endpoint: Endpoint) -> bool:
    return endpoint.over_10_s_count > _DROP_SHARE * endpoint.responses_count
