"""The command line: ``dvps train|evaluate|predict|bench|convert|render``, one file a subcommand."""
