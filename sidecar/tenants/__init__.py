"""What is done with a tenant as a whole."""
