"""How the service's database came to its shape, step by step (Alembic)."""
