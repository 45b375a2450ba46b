from tests.engine import engine, shared_sandbox

__all__ = ["engine", "shared_sandbox"]
