"""The nonlinearity that stands where a cell's equations have tanh."""
