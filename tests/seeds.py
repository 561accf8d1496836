"""The documents of the seeds that several tests compare with."""

MODELS = {
    "models": ["mock", "flashtalk", "musetalk", "wav2lip", "flashhead", "quicktalk"],
    "statuses": [
        {"id": "mock", "backend": "mock", "connected": True, "reason": "local_self_test"},
        {"id": "flashtalk", "backend": "omnirt", "connected": False, "reason": "not_configured"},
        {"id": "musetalk", "backend": "omnirt", "connected": False, "reason": "not_configured"},
        {"id": "wav2lip", "backend": "omnirt", "connected": False, "reason": "not_configured"},
        {"id": "flashhead", "backend": "direct_ws", "connected": False, "reason": "not_configured"},
        {"id": "quicktalk", "backend": "local", "connected": True, "reason": "local_runtime"},
    ],
}
"""The example answer of ``GET /models`` in OpenTalking's documentation."""
