"""The refusals a caller of Graph can meet, and the envelope they travel in.

Source: Graph "Microsoft Graph error responses and resource types" page.
"""

from collections.abc import Mapping


class GraphError(Exception):
    """A refusal: HTTP status, Graph's code and text, and headers or extra fields if the case has any."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


class NotEmulated(GraphError):
    """The real service may know this; the emulator does not, and says so instead of guessing."""

    def __init__(self, what: str) -> None:
        super().__init__(501, "notImplementedByEmulator", f"The emulator does not play this: {what}.")


def item_not_found() -> GraphError:
    """Build the refusal for an event that is not there."""
    return GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")


def change_key_is_old() -> GraphError:
    """Build the refusal for a change that somebody else's has overtaken."""
    return GraphError(
        412,
        "ErrorIrresolvableConflict",
        "The send or update operation could not be performed because the change key passed in the request does not "
        "match the current change key for the item.",
    )


def invalid_request(message: str) -> GraphError:
    """Build the plain 400."""
    return GraphError(400, "ErrorInvalidRequest", message)


def zone_not_supported(name: str) -> GraphError:
    """Build the refusal for a time zone nobody knows."""
    return GraphError(400, "TimeZoneNotSupportedException", f"The following TimeZone value is not supported: {name}.")
