"""The command line, one file per command.

In come arguments, settings and files; out go plain lines, or with ``--json`` one JSON object on standard output.
Nothing here decides about an entry: commands open an outbox, ask it or hand it something, and render what they get.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 a person is needed. What is wrong in an option or
argument is 2, what is wrong in the content of a file is 1.

``--json`` is a contract: fields stay, new ones may come; instants are ISO 8601 in UTC. An error goes to standard error
with a non-zero exit code, as a line beginning with ``Error:``; with ``--json`` it is one JSON object there,
``{"error": {"type", "message", "exit_code", "problems"}}``, and nothing is on standard output.
"""
