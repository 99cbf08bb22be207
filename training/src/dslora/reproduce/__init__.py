"""The paper's tables and figures, run again: ``dslora reproduce table3 --preset tiny``.

cell.py        one run: data, base, method, settings, seed; its content key
presets.py     what a reproduction costs: bases, rows, epochs, grids
experiments.py which cells a table or figure needs
work.py        computes missing cells, in several processes
results.py     one small JSON file a cell, the only thing that reports read
report.py      the Markdown report and the figures, from these files alone
"""
