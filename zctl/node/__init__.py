"""The machine that zctl runs on: its user, folders, timers."""
