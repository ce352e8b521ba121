"""The command line: ``dvps train|evaluate|predict|bench|convert|render|demo``, one file a subcommand."""
