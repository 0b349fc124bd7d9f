"""Graph's paths: what happens to a request, and the handlers."""
