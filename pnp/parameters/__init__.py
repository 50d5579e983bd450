"""Numbers that nobody gave: the weight of the prior, the table of rules, and its tuning."""
