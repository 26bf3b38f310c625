"""ML Programs (Core ML) read from an `.mlpackage` and interpreted on this machine, to prove what lies on disk."""
