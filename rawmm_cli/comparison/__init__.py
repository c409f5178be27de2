"""Systems compared on equal terms: the same data, seeds and budget, with error bars.

results.py   cells -> results.json
"""
