"""Where hostile bytes are opened: a worker process that can reach nothing, and the ways to ask it.

`program` is the worker's side and runs confined; everything beside it is the caller's side and trusts no answer.
Nothing is imported here, because the worker imports this package too and pays for every line at its start.
"""
