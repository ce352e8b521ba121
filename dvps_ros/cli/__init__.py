"""The command line ``dvps``, one file per subcommand (``main.SUBCOMMANDS``)."""
