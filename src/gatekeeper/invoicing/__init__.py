"""What an invoice is rendered as: files for people, for spreadsheets and for machines."""
