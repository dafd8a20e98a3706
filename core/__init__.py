"""Trefoil's cloud-agnostic core: everything between an HTTP request and its answer.

The rule of this folder: it may import `openai` (through `openai_sdk.py`), `pydantic` and the
standard library, and never a cloud's SDK or another folder of this repository. A test holds it to that.

A request goes endpoint -> auth -> validate -> policy -> reserve -> upstream -> settle -> respond: `gateway.py` shows
the way, `tasks.py` that of a task.
"""
