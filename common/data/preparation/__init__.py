"""Preparing the public data sets, a module each; `common.data.prepare` is the command."""
