"""What tables call the ways to aggregate, and what these are held against."""

from fedmi.aggregation import DOWNLOAD

MATCHED = "matched mean"
ALONE, ENSEMBLE = "each client alone", "ensemble of predictions"
POOLED = "pooled data, same steps"
ELSEWHERE = "other seeds' pooled solution"
STEP, EXP_STEP = "server step", "FedExP step"
FURTHER = "mean of clients trained as much longer"
LONGER = "pooled data, all clients' steps"
LINE, PLANE = "oracle: server step", "oracle: plane of the clients"
REFERENCES = (ALONE, ENSEMBLE, POOLED, LONGER, ELSEWHERE, LINE, PLANE, DOWNLOAD, FURTHER)
"""No aggregators: they see all data, or do not aggregate."""
