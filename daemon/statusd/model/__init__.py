"""The pure heart: statuses, reports, rollups, the tree and its snapshots. No I/O, no clock, no trio."""
