"""The ports of administration: instances, branches, catalogs, synced tables, operations and the audit."""
