"""What the database knows of a table before it is read: for prices and plans.

Read `measurement.py` first.
"""
