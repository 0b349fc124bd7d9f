"""Graph's subscription paths. What they mean is in `subscribing.py`.

Source: Graph "List subscriptions" page: no query options, pages with next links, client states left out.
"""

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.subscription import Subscription, render_subscription
from sidecar.emulator.graph.call import Call, graph_reply
from sidecar.emulator.graph.paging import Pager
from sidecar.emulator.notify.subscribing import Subscribing
from sidecar.emulator.wire.event_input import parse_json
from sidecar.emulator.wire.options import check_options, whole_number

_PAGE_SIZE = 100  # Microsoft's is not documented
_SKIP = "$skiptoken"


class SubscriptionRoutes:
    """Handlers of everything below `/subscriptions`."""

    def __init__(self, *, pager: Pager, subscribing: Subscribing) -> None:
        self._pager = pager
        self._subscribing = subscribing

    async def create(self, call: Call) -> Reply:
        """Answer POST /subscriptions; the call stays open until both URLs have shaken hands."""
        check_options(call.query, ())
        wire = parse_json(call.request.body)
        subscription = await self._subscribing.create(call.caller, wire, immutable=call.preferences.immutable)
        return self._reply(call, subscription, 201)

    def list(self, call: Call) -> Reply:
        """Answer GET /subscriptions with a page; client states are left out."""
        check_options(call.query, (_SKIP,))
        found = self._subscribing.list(call.caller)
        start = _parse_skip(call.query.get(_SKIP, "0"))
        end = start + self._pager.page_size(call, min(len(found[start:]), _PAGE_SIZE))
        body = {"@odata.context": f"{call.metadata_url}#subscriptions"}
        if end < len(found):
            body["@odata.nextLink"] = f"{call.request.base_url}{call.request.path}?{_SKIP}={end}"
        value = [render_subscription(one, with_state=False) for one in found[start:end]]
        return graph_reply(200, {**body, "value": value})

    def get(self, call: Call) -> Reply:
        """Answer GET /subscriptions/{id}."""
        check_options(call.query, ())
        return self._reply(call, self._subscribing.find(call.caller, call.values[0]), 200)

    async def update(self, call: Call) -> Reply:
        """Answer PATCH /subscriptions/{id}."""
        check_options(call.query, ())
        wire = parse_json(call.request.body)
        return self._reply(call, await self._subscribing.renew(call.caller, call.values[0], wire), 200)

    def reauthorize(self, call: Call) -> Reply:
        """Answer POST /subscriptions/{id}/reauthorize."""
        check_options(call.query, ())
        self._subscribing.reauthorize(call.caller, call.values[0])
        return Reply(status=204)

    def delete(self, call: Call) -> Reply:
        """Answer DELETE /subscriptions/{id}."""
        check_options(call.query, ())
        call.caller.tenant.remove_subscription(self._subscribing.find(call.caller, call.values[0]))
        return Reply(status=204)

    def _reply(self, call: Call, subscription: Subscription, status: int) -> Reply:
        context = f"{call.metadata_url}#subscriptions/$entity"
        return graph_reply(status, {"@odata.context": context, **render_subscription(subscription, with_state=True)})


def _parse_skip(text: str) -> int:
    start = whole_number(text)
    if start is None:
        raise GraphError(400, "InvalidRequest", f"The value of {_SKIP} is not one of a next link.")
    return start
