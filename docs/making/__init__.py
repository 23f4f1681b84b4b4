"""What makes the pages: everything here reads the catalog, so that a page cannot go stale."""
