"""What people look at: the table in the terminal, the page in a browser."""
