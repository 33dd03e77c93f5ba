"""The ground: device, precision, processes, randomness and files. Everything may import it; it imports nothing of ours."""
