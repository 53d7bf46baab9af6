"""Operations and the store that keeps them.

A request becomes an `OperationRecord`. The store keeps it, and one process at a time holds its lease. Read
`operation.py` first.
"""
