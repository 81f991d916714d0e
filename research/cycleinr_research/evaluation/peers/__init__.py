"""Published methods to compare with: ArSSR, SAINT and TVSRN, written anew from their papers' descriptions.

Their trained weights are not used: each is trained by ``cycleinr train`` on the patches that CycleINR is trained on.
Three things are the same for all of them and are our choice, not the papers':

- The network's output is scaled down and added to linear interpolation between the slices, as CycleINR's is added
  to cubic convolution. The papers predict intensities from nothing, which needs far longer training to reach
  interpolation.
- Intensities are scaled as CycleINR's (`intensity.py`).
- No data consistency afterwards; none of the papers has one.
"""
