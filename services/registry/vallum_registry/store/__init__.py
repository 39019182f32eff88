"""Where the registry keeps things: records in PostgreSQL, files in an object store, half uploads on its own disk."""
