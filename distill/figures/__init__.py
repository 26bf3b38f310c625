"""The papers' figures, drawn from a study's folder: one file per family, one table of families in `draw`.

What lies in the output folder: per figure `NAME.png` (200 dpi) and `NAME.svg` (text stays text), and, written last,
`figures.json`: a JSON list of objects with exactly the keys of `distill.figures.gallery.Entry`. Whoever shows the
figures needs that one file.
"""
