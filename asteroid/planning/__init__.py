"""Which labels to buy."""
