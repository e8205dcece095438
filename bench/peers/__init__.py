"""What people run today instead of Sluice, each as its own users would write it well, measured in the same run.

Every peer is a gRPC server built as ours is, that answers `PlaceOrder`: yes or out of stock, one unit or more of one
SKU. What it does not do (keep the order, tell anybody, survive a crash without losing or selling twice) is its own.
"""
