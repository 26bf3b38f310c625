"""What a network, its data and its pixels are; knows nothing of training."""
