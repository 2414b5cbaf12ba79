"""Which labels to buy, and whether what they made is good enough."""
