"""What `verify` weighs: how two pictures lie on one another, and what is the same and what is not."""
