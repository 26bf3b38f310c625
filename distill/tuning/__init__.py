"""Search for settings: `python -m distill tune RECIPE --vary KEY=log:LOW:HIGH` tries some and names the best.

`varied` is what may be varied, `record` what a search is (`search.json`), `trials` its trials in Optuna's storage,
`search` runs them, `table` and `picture` show them.
"""
