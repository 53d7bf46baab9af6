"""The peers of the nested bench: the same servers, with customers, nations, line items and parts around the orders."""
