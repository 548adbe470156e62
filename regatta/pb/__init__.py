"""Messages generated from proto/ by `make proto`."""
