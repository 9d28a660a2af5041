"""Erasure: what must be forgotten is forgotten everywhere, with a receipt that holds only digests."""
