"""What things are: frozen values without behaviour that needs a clock, a socket or a database."""
