"""The promises of schema/plans, in the process."""
