"""What a mailbox holds and how mailboxes deal with each other, without any wire format."""
