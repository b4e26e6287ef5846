"""What is paid for: the ledger, prices, limits of calls, and circuit breakers."""
