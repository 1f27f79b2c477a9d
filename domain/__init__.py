"""The rules of the game: pure functions and values, no clock, no dice, no input or output."""
