"""Speed and memory, as ratios taken on one machine: `python -m benchmarks NAME`, from a checkout."""
