"""What a person looks at: HTML pages, plots, and pictures in a terminal.

page.py         the shell of all pages: Jinja environment, style sheet, policy (page.html, .css, parts.html),
                and all that the studio's page needs (studio.html, studio.js)
report.py       a run (report.html, report.js)
facts.py        the report's head: what is trained
results.py      the report's numbers
curves.py       the report's curves: scalars as SVG
axes.py         axes and ticks of curves and plots
gallery.py      the report's sample sheets and captions
card.py         a prepared set (card.html)
reconstruct.py  codecs side by side (reconstruct.html, reconstruct.js, sort.js)
demo.py         what a model draws and reads, after a demo (demo.html)
compare.py      systems side by side (compare.html; sort.js, as reconstruct.py)
compare_table.py     its tables: results, costs, cells
compare_plots.py     its plots: differences with intervals; quality against time, bits, steps
compare_pictures.py  its pictures: drawn, read, kept by codecs
scatter.py      the comparison's plots: bits against what they buy
cases.py        the comparison's pictures
budget.py       budget and catalogue as plots
terminal.py     pictures in a terminal
"""
