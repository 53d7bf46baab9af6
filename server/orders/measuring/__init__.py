"""What the database knows of the orders before it reads them, for prices and plans. Read `measurement.py` first."""
