"""The CTK and qMRML widgets that the project's panel uses, with their properties and signals."""
