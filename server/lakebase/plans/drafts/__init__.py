"""What every plan is made of: the draft, the differences, and what a deletion would lose or leave behind."""
