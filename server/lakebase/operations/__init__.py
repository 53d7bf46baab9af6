"""Operations and the store that keeps them, each held by one process at a time. Read `operation.py` first."""
