"""Real processes for as long as one likes: an office at work, an unkind Exchange, and power cuts."""
