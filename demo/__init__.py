"""The demo: a subscription product's warehouse, made up."""
