"""What happens after an order is accepted: the consumer runtime, and the consumers that Sluice brings along."""
