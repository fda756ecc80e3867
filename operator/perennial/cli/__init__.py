"""`kubectl perennial`: what a person asks of Perennial at a terminal. Each verb is a thin request; nothing is decided here."""
