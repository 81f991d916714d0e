"""CycleINR's research wing: training, evaluation, and the published methods that CycleINR is compared with.

It builds on the engine, `cycleinr`, which knows nothing of it: the commands ``cycleinr train`` and ``cycleinr
evaluate`` are entry points of this package.
"""
