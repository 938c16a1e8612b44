"""What verbs do: one transaction that records the intent, then bringing it to the hosts."""
