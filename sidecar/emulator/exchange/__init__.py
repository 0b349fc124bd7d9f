"""The world behind the wire: tenants, their apps and mailboxes, what those hold, and how they deal with each other."""
