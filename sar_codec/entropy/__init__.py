"""From numbers to bits: quantisation, densities, integer tables, exact arithmetic, range coding."""
