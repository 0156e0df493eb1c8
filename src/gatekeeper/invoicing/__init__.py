"""How does an invoice read as a file? One module for each format, all from the same document."""
