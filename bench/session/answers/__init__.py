"""Answers of models to held-out pictures: which pictures, as which files, and what their logits say."""
