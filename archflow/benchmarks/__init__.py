"""What is known of each benchmark: its space, its tables, its networks; a folder each."""
