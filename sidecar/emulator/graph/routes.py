"""Which handler answers a path of Graph."""

from collections.abc import Awaitable, Callable, Iterable

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import NotEmulated
from sidecar.emulator.graph.call import Call

Handler = Callable[[Call], Reply | Awaitable[Reply]]
Route = tuple[str, str, Handler]
"""Method, path pattern and handler; where several patterns fit, the first one counts."""


class Routes:
    """Path patterns below `/v1.0` and their handlers; a part in braces matches anything."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[int, list[tuple[str, tuple[str | None, ...], Handler]]] = {}
        for method, pattern, handler in routes:
            parts = tuple(None if part.startswith("{") else part.lower() for part in pattern.strip("/").split("/"))
            self._by_length.setdefault(len(parts), []).append((method, parts, handler))

    def find(self, method: str, segments: tuple[str, ...]) -> tuple[Handler, tuple[str, ...]]:
        """Find a request's handler and the values of its placeholders.

        Raises:
            NotEmulated: no such path, or not with this method; what Graph answers to a wrong method is not known.
        """
        lower = [segment.lower() for segment in segments]
        other_methods = []
        for route_method, parts, handler in self._by_length.get(len(segments), ()):
            if all(want is None or want == have for want, have in zip(parts, lower, strict=True)):
                if route_method == method:
                    return handler, tuple(segments[at] for at, want in enumerate(parts) if want is None)
                other_methods.append(route_method)
        what = f"{method} /{'/'.join(segments)}"
        if other_methods:
            what += f"; it plays {', '.join(dict.fromkeys(other_methods))} on this path"
        raise NotEmulated(what)
