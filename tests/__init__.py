import os

# Tests start servers while gRPC is at work in their own process. Its fork handlers are for Python children that go on
# using gRPC; in a child that only waits for exec they have been seen to end it without a word.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
