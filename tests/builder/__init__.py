"""A declarative qcow2 writer for tests that imports nothing from ``qcow2_dump``.

Reader and writer share no code, so they cannot share a mistake; the real ``qemu-img`` judges both.
Start at ``spec`` (what to say), ``build`` (say it), ``built`` (what comes back) and ``std``.
"""
