"""Benchmarks: ratios against ceilings measured in the same run. They assert nothing; README.md tells how to read them."""
