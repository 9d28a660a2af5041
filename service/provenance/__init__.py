"""Where memories come from and what became of them: records, derivations, views, receipts, relations, retention."""
