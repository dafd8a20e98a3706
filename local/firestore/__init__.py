"""A Firestore for tests and laptops, made of Google's own messages; `python -m local.firestore_emulator` starts it.

`database.py` does what the service documents; `service.py` is its methods, which `rest_front.py` and `grpc_front.py`
offer.
"""
