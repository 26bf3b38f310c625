"""Core ML packages: export, compression of the program, and a package without traces of when it was made."""
