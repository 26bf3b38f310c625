"""`report.html` of a finished run: what was trained on what, how it went, what it knows and what it mistakes."""
