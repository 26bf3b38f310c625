"""Train small students from a large teacher: data + teacher -> checkpoint."""
