"""Graph's JSON: reading it strictly, writing it exactly."""
