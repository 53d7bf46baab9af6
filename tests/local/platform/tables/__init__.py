"""The promises of the catalogs and tables of the local platform."""
