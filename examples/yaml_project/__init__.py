"""A project in YAML; crew.py tells how to run it."""
