"""The trajectory optimiser: facts, rules, and the cheapest way from one to the other."""
