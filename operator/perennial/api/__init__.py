"""The API of Perennial as pydantic models: the one source of the CRDs and of every parsed object."""
