"""The prediction service: a FastAPI application with one fast endpoint, run by uvicorn."""
