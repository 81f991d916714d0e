"""The CycleINR network: encoder, attention-enhanced latent code grid sampling (ALCGS), fully connected decoder."""
