"""The paper's tables as data, and paired statistics over seeds."""
