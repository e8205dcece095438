from sluice.rpc import polling

polling.choose()  # here, because this runs before any command loads gRPC
