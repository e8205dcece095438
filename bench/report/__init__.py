"""From the JSON of one run to pages and pictures, and from nothing else."""
