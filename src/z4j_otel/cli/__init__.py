"""The command ``z4j-otel``."""
