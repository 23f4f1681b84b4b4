"""Who may see whom: patterns, their algebra, and the blocks a kernel may skip."""
