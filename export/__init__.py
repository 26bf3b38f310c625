"""Turn a checkpoint into artifacts for phones and servers: checkpoint -> artifact."""
