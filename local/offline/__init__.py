"""The parts of the offline upstream: what it answers (`endpoints`), how it is told to fail (`behaviour`), its sending.

Rule of the folder: standard library only. Each noun of the API is a file. What is stored lies in `account`; only
`exchange`, `gates` and `request_log` wait for anything, and all else is pure.
"""
