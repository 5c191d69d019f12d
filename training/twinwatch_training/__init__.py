"""Trains the encoder that the twinwatch daemon uses. Needs the `training` extra."""
