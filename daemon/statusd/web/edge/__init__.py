"""From sockets to requests: accepts, guards and bounds every connection."""
