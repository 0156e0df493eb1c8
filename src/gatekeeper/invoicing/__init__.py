"""What is an invoice rendered as? Files for people, for spreadsheets and for machines, all of one document."""
