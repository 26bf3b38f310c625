"""One session of measuring: which cells, in which journal, and how it goes on after an end."""
