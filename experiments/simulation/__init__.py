"""A simulated subscription business whose truth is known: hidden traits drive what customers do, answer, and whether they leave."""
