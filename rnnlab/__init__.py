"""rnnlab: train recurrent nets on long-dependency tasks and watch dL/dh_t at every time step.

Importing this package imports no torch, so that the command line answers at once.
"""

import os

# MKL may choose another kernel for another memory alignment, and then two equal products differ in the last
# bit. A replica lies at another address in a population than alone, so we ask for alignment-independent results
# (measured: no cost, and without it about 5 % of odd-shaped products differ). Read at MKL's first use.
os.environ.setdefault("MKL_CBWR", "AUTO")

__version__ = "0.1.0"
