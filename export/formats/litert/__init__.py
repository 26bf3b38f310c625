"""LiteRT models: export, integers, and strings in the flatbuffer's metadata."""
