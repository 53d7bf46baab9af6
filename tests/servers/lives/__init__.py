"""The lives of an instance and of its branches: every admin mutation, with the calls to the platform that it makes.

Each life begins and ends with a provisioned instance. The matrices of faults and kills walk through the lives, so a
mutation or a call is in every matrix if it is here; `tests/blackbox/lakebase/test_lives.py` checks that all are.
"""
