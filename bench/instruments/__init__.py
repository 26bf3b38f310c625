"""What measures on a device, behind the protocol of `bench/protocol/`; pushed to it by the host."""
