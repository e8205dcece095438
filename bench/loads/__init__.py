"""Load generators, each in a process of its own (`bench.workers`): a module for each kind, with a dataclass `Load` of
its settings and a function `drive(load)`.

Programs of others that make load are in `bench.loads.ghz` and `bench.loads.h2load`.
"""
