"""Search: which architecture to train next, and what training it gives."""
