"""The gRPC API: the only package that knows proto messages and gRPC."""
