"""Why something works or does not: named checks that ask Microsoft and look at what is known."""
