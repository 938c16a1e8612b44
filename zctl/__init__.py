"""zctl: a private cloud on Linux servers over SSH, without an agent."""

__version__ = "0.1.0"
