"""The three clouds on this machine, each through its own runtime code, and the offline upstream behind them.

`python -m local` starts it all; the tests drive the same code. Nothing here ships.
"""
