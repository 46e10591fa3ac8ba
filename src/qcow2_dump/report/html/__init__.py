"""A check as one page that needs nothing else: templates, its own scripts, a chart library."""
