"""The probe clients, every cap in one place; they know nothing of sources, reports or plugins."""
