"""The variables that switch the plugin's two changes on."""

PREFER = "SERVEGATE_PREFER_REDUCE_SCATTER"
FIX = "SERVEGATE_FIX_REDUCE_SCATTERV"
