"""Graph's subscription paths. What they mean is in `subscribing.py`."""

from sidecar.emulator.asgi import Reply
from sidecar.emulator.exchange.subscription import Subscription, render_subscription
from sidecar.emulator.graph.call import Call, graph_reply
from sidecar.emulator.notify.subscribing import Subscribing
from sidecar.emulator.wire.event_input import parse_json
from sidecar.emulator.wire.options import check_options


class SubscriptionRoutes:
    """Handlers of everything below `/subscriptions`."""

    def __init__(self, *, subscribing: Subscribing) -> None:
        self._subscribing = subscribing

    async def create(self, call: Call) -> Reply:
        """Answer POST /subscriptions; the call stays open until both URLs have shaken hands."""
        check_options(call.query, ())
        wire = parse_json(call.request.body)
        subscription = await self._subscribing.create(call.caller, wire, immutable=call.preferences.immutable)
        return self._reply(call, subscription, 201)

    def list(self, call: Call) -> Reply:
        """Answer GET /subscriptions; client states are left out."""
        check_options(call.query, ())
        found = [render_subscription(one, with_state=False) for one in self._subscribing.list(call.caller)]
        return graph_reply(200, {"@odata.context": f"{call.metadata_url}#subscriptions", "value": found})

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
