"""One file for each resource type. A new type is a new file here, or an entry point of the group zctl.resources."""
