"""Speed, as ratios taken in one process."""
