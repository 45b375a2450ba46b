"""A Customer.io that runs on your machine."""
