"""From an experiment file to a verdict: spec, plan, run, records, gate, report."""
