"""How good a network is on held-out images: by image, by clip, and whether its confidence can be believed."""
