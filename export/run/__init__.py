"""How many artifacts are made: planned, kept if unchanged, made side by side in processes of their own."""
