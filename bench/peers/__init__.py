"""What people run today instead of Sluice, each as its own users would write it well, measured in the same run.

Every peer is one small class behind the same protocol (`bench.peers.protocol`): reserve units for an order, say yes or
no. `bench.peers.serving` puts it behind a gRPC server that is built as ours is. What a peer keeps of an order when its
buyer hears yes is said in `bench.peers.known`, and shown beside its figures.
"""
