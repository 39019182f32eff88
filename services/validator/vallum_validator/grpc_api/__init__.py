"""RPCs in (`servicer`), and the one RPC out: fetching bytes from the registry (`registry`)."""
