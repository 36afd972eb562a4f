"""The tables of docs/evaluation.md, made of what `make evaluation` left."""
