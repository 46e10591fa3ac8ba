"""Which leaks may be guest data, and why (repair rules, section 1)."""
