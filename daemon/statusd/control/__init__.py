"""The control socket: what changes a running daemon, for those alone whom the socket's file lets in."""
