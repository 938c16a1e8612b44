"""The servers of the inventory's database: which there are, what each is to be, and who may take over from whom."""
