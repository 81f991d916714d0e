"""CycleINR's research wing: training, evaluation, and the published methods that CycleINR is compared with.

It builds on the engine, `cycleinr`, which knows nothing of it: the commands ``cycleinr train`` and ``cycleinr
evaluate`` are entry points of this package, and the peers' networks are registered here by name.
"""

from cycleinr.network import register

register("arssr", "cycleinr_research.evaluation.peers.arssr:ArSSR")
register("saint", "cycleinr_research.evaluation.peers.saint:SAINT")
register("tvsrn", "cycleinr_research.evaluation.peers.tvsrn:TVSRN")
