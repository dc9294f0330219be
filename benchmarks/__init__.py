"""Benchmarks: `./run bench` lists them, `./run bench NAME` runs one. Each prints a small table as Markdown."""
