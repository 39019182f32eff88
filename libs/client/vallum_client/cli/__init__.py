"""The command `vallum`: one module per group of commands, each thin over the Python client."""
