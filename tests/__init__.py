"""The promises of the product, checked."""
