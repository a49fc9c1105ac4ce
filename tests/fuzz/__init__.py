"""Fuzzing of the codec, the framer and the relay: what must hold whatever bytes come, and who makes them up."""
