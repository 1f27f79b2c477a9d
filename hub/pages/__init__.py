"""The pages that the hub serves."""
