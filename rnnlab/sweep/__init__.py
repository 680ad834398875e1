"""Many runs: what a job is, where jobs are worked on (processes, Ray, Slurm), the overview, the ending."""
