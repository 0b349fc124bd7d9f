"""Writing bookings to Exchange, and what has to be decided before and after."""
