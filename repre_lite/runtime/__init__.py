"""The base layer: device, precision, processes, randomness and files.

Everything may import it; it imports nothing else from this package.
"""
