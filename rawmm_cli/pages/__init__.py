"""What a person looks at: HTML pages, plots, and pictures in a terminal.

report.py       a run as one HTML page (report.html, report.css, report.js)
gallery.py      sample sheets and captions of the report
curves.py       scalars as SVG curves
card.py         the page of a prepared set (card.html)
reconstruct.py  codecs side by side (reconstruct.html, reconstruct.css, reconstruct.js)
budget.py       budget and catalogue as plots
terminal.py     pictures in a terminal
"""
