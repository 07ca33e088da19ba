"""From the facts of a ledger to a published generation of rows."""
