"""The models that SGLang finds without importing all of its own.

SGLANG_EXTERNAL_MODEL_PACKAGE names this package, and SGLang (models/registry.py:154, 0.5.23) then
imports its 200 model modules, in each of the launch's processes, only when it is asked for a model
that is not here.
"""
