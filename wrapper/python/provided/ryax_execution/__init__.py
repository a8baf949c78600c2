"""Names that sources in the ryax.tech format import."""
