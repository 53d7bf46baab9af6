"""Support for tests that runs no server: clocks, counts, tables, calibration."""
