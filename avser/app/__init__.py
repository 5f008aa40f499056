"""The web page `avser app` and its HTTP interface."""
