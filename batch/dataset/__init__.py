"""Files to rows: streaming, bounded, with file and line in every complaint."""
