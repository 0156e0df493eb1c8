"""The rules of the budget: pure, standard library only, no I/O, no clock, no logging."""
