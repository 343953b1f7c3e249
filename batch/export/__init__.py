"""Results to files, in input order, in constant memory."""
