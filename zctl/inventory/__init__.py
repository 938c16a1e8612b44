"""The inventory: database, schema, reading and writing of rows."""
