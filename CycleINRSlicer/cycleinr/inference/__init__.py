"""From a volume to a finer one: what to do (options, plan), where (devices), and doing it slice by slice."""
