"""What a customer's administrator runs, and what its result says. Pure: no clock, network, store or wire."""
