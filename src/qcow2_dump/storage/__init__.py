"""Where bytes come from: files, devices, memory, and wrappers around them. Knows no qcow2."""
