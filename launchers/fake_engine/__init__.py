"""A server that speaks as SGLang does, with the accuracy, the pace and the faults it is told."""
