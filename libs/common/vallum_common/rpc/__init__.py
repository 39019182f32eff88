"""gRPC edges: who may call, errors that cross the wire, servers and channels."""
