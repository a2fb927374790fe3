"""SGLang plugins of servegate: loaded by SGLang through entry points, in its own processes."""
