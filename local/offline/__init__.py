"""The parts of the offline upstream: what it answers (`canned`), how it is told to fail (`behaviour`), how it is sent.

Rule of the folder: standard library only. `canned`, `tool_calls`, `instance`, `tokens`, `chat_rules`, `behaviour` and
`script` are pure; only `exchange`, `gates` and `request_log` wait for anything.
"""
