"""Warehouse tables as Customer.io people, devices, events, collections, segments, objects and relationships: Dagster assets.

The public names are in `__init__.pyi`; each is imported when it is first used, so that a program pays for what it uses.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
