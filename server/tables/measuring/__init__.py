"""What the database knows of the orders before it reads them: for prices, plans and estimates.

Read `measurement.py` first.
"""
