"""The schema revision that this zctl works with. A test keeps it equal to the newest migration's."""

HEAD = "0011"
