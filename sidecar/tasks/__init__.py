"""Background work: the chores, and the lanes and runner that drive them."""
