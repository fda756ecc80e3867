"""Pure decisions: what was observed and the time in, actions and a status out. No I/O, clock or chance in here."""
