"""`python -m distill data PATH`: what lies in a folder of pictures, before anyone trains on it."""
