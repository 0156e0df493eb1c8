"""What does an invoice look like? Each module renders one format of the same document; none reads anything else."""
