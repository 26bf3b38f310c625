"""The demo app, what checks it before it goes out, and the loop that ends in it.

The app itself is Java (`src/`, README.md). The Python rooms speak to the other packages by their commands and by the
contracts on disk alone.
"""
