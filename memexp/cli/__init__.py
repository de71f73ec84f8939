"""The command line: a skin. `app` puts the commands of these modules together."""
