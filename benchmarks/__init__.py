"""What does the server cost, beside an empty call and beside a transaction per call?"""
