"""Bringing desired states to hosts: playbooks rendered, run by ansible-runner, results collected. Knows no database."""
